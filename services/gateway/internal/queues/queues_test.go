//go:build unix

package queues

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	patience = 30 * time.Second
	resize   = "acme.v1.ImageService.Resize"
	crop     = "acme.v1.ImageService.Crop"
	missing  = "acme.v1.ImageService.Missing"
)

var names = broker.Names{Namespace: broker.DefaultNamespace}

// known is a store, or the management API, that answers so.
type known struct {
	retrying, scheduled int64
	oldest              time.Time
	unsure              bool
	err                 error
	loads               map[string]management.Load
	loadErr             error
	patterns            []string
}

func (k *known) Queued(context.Context, string) (int64, time.Time, bool, error) {
	return k.retrying, k.oldest, !k.unsure, k.err
}

func (k *known) CountScheduled(context.Context, string) (int64, error) { return k.scheduled, k.err }

func (k *known) Loads(_ context.Context, pattern string) (map[string]management.Load, error) {
	k.patterns = append(k.patterns, pattern)
	return k.loads, k.loadErr
}

// newReader is a reader of a real broker with queues of two types.
func newReader(t testing.TB, edit func(*Config)) (*Reader, brokertest.Broker) {
	t.Helper()
	b := brokertest.VHost(t)
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: slog.New(slog.DiscardHandler)}
	require.NoError(t, cfg.Validate())
	conn := broker.NewConnection(cfg, "consume", func(topology *broker.Topology) error {
		return errors.Join(topology.DeclareShared(), topology.DeclareWork(resize), topology.DeclareWork(crop))
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { conn.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	ready, cancelReady := context.WithTimeout(t.Context(), patience)
	defer cancelReady()
	require.NoError(t, conn.Do(ready, func(*broker.Topology) error { return nil }))
	c := Config{Names: names, Topology: conn, Store: &known{}}
	edit(&c)
	return New(c), b
}

func amount[T any](v T) *T { return &v }

func requireUnknown(t testing.TB, q *adminv1.Queue, want ...string) {
	t.Helper()
	require.Len(t, q.Unknown, len(want), "%q", q.Unknown)
	for i, text := range want {
		require.True(t, strings.HasPrefix(q.Unknown[i], text), "%q is not %q", q.Unknown[i], text)
	}
}

func TestQueuesOfARealBroker(t *testing.T) {
	t.Parallel()
	r, b := newReader(t, func(*Config) {})
	client, err := management.New(b.ManagementURL, b.VHost)
	require.NoError(t, err)
	r.cfg.Management = client
	for range 3 {
		b.Publish(t, names.Tasks(), resize, amqp091.Publishing{})
	}
	ch := b.Channel(t)
	_, err = ch.Consume(names.Work(crop), "", false, false, false, false, nil)
	require.NoError(t, err)
	_, ok, err := ch.Get(names.Work(resize), false)
	require.NoError(t, err)
	require.True(t, ok)
	types := []Type{{Name: crop, Finished: amount(2.0)}, {Name: missing}, {Name: resize, MaxLength: 9, Finished: amount(0.5)}}
	brokertest.Eventually(t, patience, func() error {
		all, err := r.List(t.Context(), types)
		require.NoError(t, err)
		require.Len(t, all, 3)
		q := all[2]
		require.Equal(t, resize, q.TaskType)
		require.Equal(t, names.Work(resize), q.Name)
		require.EqualValues(t, 9, q.MaxLength)
		require.InDelta(t, 0.5, q.GetAcknowledgeRate(), 0)
		requireUnknown(t, all[1], "ready, consumers: RabbitMQ has no queue warren.work."+missing, "unacked, publish_rate, drain_time: ", "acknowledge_rate")
		require.Nil(t, all[1].Ready)
		if q.GetReady() != 2 || q.GetUnacked() != 1 || q.PublishRate == nil || all[0].GetConsumers() != 1 {
			return fmt.Errorf("found %v", all)
		}
		require.Empty(t, q.Unknown)
		require.Nil(t, q.Scheduled, "that is for Get")
		return nil
	})
	q, err := r.Get(t.Context(), types[2])
	require.NoError(t, err)
	require.EqualValues(t, 2, q.GetReady())
	require.NotNil(t, q.Scheduled)
	require.Empty(t, q.Unknown)
	require.NotNil(t, q.Time)
}

// still is a broker that answers nothing.
type still struct{}

func (still) Do(ctx context.Context, _ func(*broker.Topology) error) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestABrokerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Names: names, Topology: still{}, Store: &known{}})
		began := time.Now()
		_, err := r.Get(t.Context(), Type{Name: resize})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(began))
		_, err = r.List(t.Context(), []Type{{Name: resize}, {Name: crop}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 6*time.Second, time.Since(began), "for all together")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = r.Get(ctx, Type{Name: resize})
		require.ErrorIs(t, err, context.Canceled)
		none, err := r.List(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, none)
		require.Equal(t, 6*time.Second, time.Since(began))
	})
}

func TestWhatIsNotKnownIsSaid(t *testing.T) {
	t.Parallel()
	k := &known{retrying: 4, scheduled: 5, oldest: time.Now().Add(-time.Minute)}
	r, b := newReader(t, func(c *Config) { c.Store = k })
	b.Publish(t, names.Tasks(), resize, amqp091.Publishing{})
	get := func(rate *float64) *adminv1.Queue {
		t.Helper()
		q, err := r.Get(t.Context(), Type{Name: resize, Finished: rate})
		require.NoError(t, err)
		require.EqualValues(t, 1, q.GetReady())
		return q
	}
	q := get(amount(3.0))
	requireUnknown(t, q, "unacked, publish_rate, drain_time: start the gateway with --management-url")
	require.EqualValues(t, 4, q.GetRetrying())
	require.EqualValues(t, 5, q.GetScheduled())
	require.GreaterOrEqual(t, q.OldestAge.AsDuration(), time.Minute)
	require.Less(t, q.OldestAge.AsDuration(), time.Hour)
	require.InDelta(t, 3, q.GetAcknowledgeRate(), 0)
	require.Nil(t, q.Unacked)
	require.Nil(t, q.PublishRate)
	require.Nil(t, q.DrainTime)

	// Without workers, and without a store.
	k.err = fmt.Errorf("%w: locked", store.ErrUnavailable)
	q = get(nil)
	requireUnknown(t, q, "unacked", "retrying: the gateway's store does not answer", "oldest_age: the gateway's store", "scheduled: the gateway's store", "acknowledge_rate, drain_time: ")
	require.Nil(t, q.AcknowledgeRate)

	// The management API stands in for what it knows.
	r.cfg.Management = k
	k.loads = map[string]management.Load{names.Work(resize): {Unacknowledged: amount[int64](7), Delayed: amount[int64](8), PublishRate: amount(1.0)}}
	q = get(amount(3.0))
	requireUnknown(t, q, "oldest_age", "scheduled")
	require.EqualValues(t, 8, q.GetRetrying())
	require.EqualValues(t, 7, q.GetUnacked())
	require.Equal(t, 500*time.Millisecond, q.DrainTime.AsDuration())
	k.err, k.unsure, k.oldest = nil, true, time.Time{}
	q = get(amount(1.0))
	requireUnknown(t, q, "oldest_age: the store holds too many")
	require.EqualValues(t, 4, q.GetRetrying(), "the store knows better")
	require.Nil(t, q.DrainTime, "it does not shrink")
	k.unsure = false
	q = get(amount(1 + 1e-12))
	require.Empty(t, q.Unknown)
	require.Nil(t, q.OldestAge, "nothing waits")
	require.Equal(t, maxDrain, q.DrainTime.AsDuration())
	require.Equal(t, management.Exactly(names.Work(resize)), k.patterns[0])

	k.loads = nil
	requireUnknown(t, get(amount(1.0)), "unacked, publish_rate, drain_time: the management API shows none")
	k.loadErr = management.ErrUnauthorized
	requireUnknown(t, get(amount(1.0)), "unacked, publish_rate, drain_time: --management-url does not answer as it should: the management API refuses")

	k.err = context.DeadlineExceeded
	all, err := r.List(t.Context(), []Type{{Name: resize, Finished: amount(1.0)}})
	require.NoError(t, err)
	requireUnknown(t, all[0], "unacked", "retrying: the gateway's store did not answer in time; GetQueue")
}

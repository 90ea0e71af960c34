package registry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

// onBroker has a registry declare its queues on a broker.
type onBroker struct {
	*fixture
	names   broker.Names
	log     *logtest.Buffer
	consume *broker.Connection
}

// connect makes the registry that uses the store, and connects it.
func connect(t *testing.T, b brokertest.Broker, s *outage) *onBroker {
	t.Helper()
	o := &onBroker{fixture: newFixture(t, s), log: &logtest.Buffer{}}
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	require.NoError(t, cfg.Validate())
	o.consume = broker.NewConnection(cfg, "consume", func(topology *broker.Topology) error { return o.Declare(topology) })
	o.names = cfg.Names()
	o.cfg.Names, o.cfg.Topology, o.cfg.Logger = o.names, o.consume, slog.New(slog.NewTextHandler(o.log, nil))
	return o
}

// start opens the connection, which lasts until the test ends.
func (o *onBroker) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.consume.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func queues(t *testing.T, b brokertest.Broker) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, q := range b.Queues(t) {
		all[q.Name] = true
	}
	return all
}

func typeNames(types []*brokerv1.TypePolicy) []string {
	var names []string
	for _, p := range types {
		names = append(names, p.Type)
	}
	return names
}

func TestQueueWithOtherArgumentsIsRefused(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	o := connect(t, b, newStore(t))
	o.start(t)
	a := release(t, "v1", "A", "B", "C", "D")
	for _, taskType := range []string{"acme.v1.Echoes.A", "acme.v1.Echoes.C"} {
		b.DeclareQuorumQueue(t, o.names.Work(taskType), nil)
	}
	for range 2 {
		answer := o.register(t, a)
		require.Equal(t, []string{"acme.v1.Echoes.B", "acme.v1.Echoes.D"}, typeNames(answer.Types))
		require.Len(t, answer.Refusals, 2)
		for i, taskType := range []string{"acme.v1.Echoes.A", "acme.v1.Echoes.C"} {
			require.Equal(t, taskType, answer.Refusals[i].Name)
			require.False(t, answer.Refusals[i].Service)
			require.Contains(t, answer.Refusals[i].Message, o.names.Work(taskType))
			require.Contains(t, answer.Refusals[i].Message, "restart the worker")
		}
	}
	require.Equal(t, 2, o.log.Count("level=ERROR"), "once for each")

	ch := b.Channel(t)
	_, err := ch.QueueDelete(o.names.Work("acme.v1.Echoes.A"), false, false, false)
	require.NoError(t, err)
	answer := o.register(t, a)
	require.Len(t, answer.Types, 3)
	require.Len(t, answer.Refusals, 1)
}

func TestQueueWithOtherArgumentsLetsTheGatewayStart(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	s := newStore(t)
	newFixture(t, s).register(t, release(t, "v1", "A", "B", "C", "D"))
	o := connect(t, b, s)
	for _, taskType := range []string{"acme.v1.Echoes.A", "acme.v1.Echoes.C"} {
		b.DeclareQuorumQueue(t, o.names.Work(taskType), nil)
	}
	// The types are known before the connection is open.
	records, err := s.Bundles(t.Context())
	require.NoError(t, err)
	for _, record := range records {
		require.NoError(t, o.restore(record, stored(records)))
	}
	o.start(t)
	require.NoError(t, o.consume.Do(t.Context(), func(*broker.Topology) error { return nil }))
	require.Equal(t, 1, o.log.Count("level=ERROR"), "the others are declared later")
	o.loaded = true // or Run would declare them for that reason
	o.run(t)
	// A binding is the last that is declared.
	brokertest.Eventually(t, patience, func() bool {
		return slices.ContainsFunc(b.Bindings(t), func(bound brokertest.BindingInfo) bool {
			return bound.Destination == o.names.Work("acme.v1.Echoes.D")
		})
	})
	require.True(t, queues(t, b)[o.names.Work("acme.v1.Echoes.B")])
	require.Equal(t, 2, o.log.Count("level=ERROR"))

	// Once it is known, the others come first.
	ch := b.Channel(t)
	for _, taskType := range []string{"acme.v1.Echoes.B", "acme.v1.Echoes.D"} {
		_, err := ch.QueueDelete(o.names.Work(taskType), false, false, false)
		require.NoError(t, err)
	}
	require.NoError(t, o.consume.Do(t.Context(), o.Declare))
	require.True(t, queues(t, b)[o.names.Work("acme.v1.Echoes.B")])
	require.True(t, queues(t, b)[o.names.Work("acme.v1.Echoes.D")])
	require.Equal(t, 2, o.log.Count("level=ERROR"))
}

//go:build unix

package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestTopologyOfQueues(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, _ := connect(t, b.URL)
	require.NoError(t, conn.Do(bounded(t), func(topology *broker.Topology) error {
		return topology.DeclareControl("w1", 1, []string{taskType, otherType})
	}))
	want := map[string]struct {
		kind      string
		arguments map[string]any
	}{
		names.Dead(): {"quorum", map[string]any{"x-queue-type": "quorum", "x-delivery-limit": -1}},
		names.Status(): {"quorum", map[string]any{
			"x-queue-type": "quorum", "x-delivery-limit": -1, "x-single-active-consumer": true, "x-consumer-timeout": 24 * 60 * 60 * 1000,
		}},
		names.Requests(): {"quorum", map[string]any{"x-queue-type": "quorum", "x-delivery-limit": -1}},
		work: {"quorum", map[string]any{
			"x-queue-type": "quorum", "x-dead-letter-exchange": names.Dead(), "x-dead-letter-strategy": "at-least-once",
			"x-overflow": "reject-publish", "x-delivery-limit": 100, "x-consumer-timeout": 24 * 60 * 60 * 1000,
		}},
		names.ControlQueue("w1", 1): {"classic", map[string]any{"x-queue-type": "classic", "x-expires": 60_000, "x-max-length": 10_000}},
	}
	queues := b.Queues(t)
	require.Len(t, queues, len(want))
	for _, q := range queues {
		w := want[q.Name]
		assert.Equal(t, w.kind, q.Type, q.Name)
		assert.True(t, q.Durable, q.Name)
		assert.Equal(t, asJSON(t, w.arguments), asJSON(t, q.Arguments), q.Name)
	}
}

func TestTopologyOfExchanges(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	connect(t, b.URL)
	want := map[string]string{
		names.Tasks(): "direct", names.Status(): "direct", names.Dead(): "topic", names.Announce(): "direct", names.Control(): "topic",
	}
	var found int
	for _, x := range exchanges(t, b) {
		kind, ours := want[x.Name]
		if !ours {
			assert.Regexp(t, `^(amq\..*)?$`, x.Name, "an exchange that is none of ours")
			continue
		}
		found++
		assert.Equal(t, kind, x.Type, x.Name)
		assert.True(t, x.Durable, x.Name)
		assert.False(t, x.AutoDelete, x.Name)
		assert.False(t, x.Internal, x.Name)
		assert.Empty(t, x.Arguments, x.Name)
	}
	assert.Equal(t, len(want), found)
}

// Nothing but work queues is bound to the exchange of tasks, else mandatory
// finds no type without a queue.
func TestTopologyOfBindings(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, _ := connect(t, b.URL)
	require.NoError(t, conn.Do(bounded(t), func(topology *broker.Topology) error {
		return topology.DeclareControl("w1", 1, []string{taskType, otherType})
	}))
	var got []string
	for _, binding := range b.Bindings(t) {
		assert.Equal(t, "queue", binding.DestinationType)
		got = append(got, binding.Source+" "+binding.RoutingKey+" "+binding.Destination)
	}
	assert.ElementsMatch(t, []string{
		"warren.tasks " + taskType + " " + work,
		"warren.status warren.status warren.status",
		"warren.dead # warren.dead",
		"warren.announce request warren.requests",
		"warren.control w.w1 warren.control.w.w1.1",
		"warren.control type." + taskType + " warren.control.w.w1.1",
		"warren.control type." + otherType + " warren.control.w.w1.1",
	}, got)
}

func TestNamespacesShareAVHost(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	cfg := configOf(t, b.URL)
	cfg.Namespace = "blue"
	conn := broker.NewConnection(cfg, "publish", declare(taskType))
	blue := broker.NewPublisher(conn)
	run(t, conn.Run)
	_, p := connect(t, b.URL)
	require.NoError(t, blue.AwaitReady(bounded(t)))

	require.NoError(t, blue.PublishTask(bounded(t), newTask(taskType)))
	assert.Len(t, b.Drain(t, "blue.work."+taskType), 1)
	assert.Empty(t, b.Drain(t, work))
	publishTask(t, p)
	assert.Empty(t, b.Drain(t, "blue.work."+taskType))
	assert.Len(t, b.Drain(t, work), 1)
}

func TestDeclaringAgainChangesNothing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	again := func(topology *broker.Topology) error {
		return errors.Join(declare(taskType)(topology), topology.DeclareControl("w1", 1, []string{taskType}))
	}
	require.NoError(t, conn.Do(bounded(t), again))
	publishTask(t, p)
	bindings, queues := b.Bindings(t), len(b.Queues(t))
	for range 2 {
		require.NoError(t, conn.Do(bounded(t), again))
	}
	assert.ElementsMatch(t, bindings, b.Bindings(t))
	assert.Len(t, b.Queues(t), queues)
	assert.Len(t, b.Drain(t, work), 1, "the message is gone")
}

// A work queue without the exchange and queue of dead letters would lose what
// dies in it.
func TestDeadLettersAreDeclaredFirst(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	// Something else has the names of what follows the queue of dead letters.
	b.DeclareQuorumQueue(t, names.Status(), nil)
	conn := broker.NewConnection(configOf(t, b.URL), "publish", nil)
	run(t, conn.Run)

	err := conn.Do(bounded(t), declare(taskType))
	requireCode(t, err, amqp091.PreconditionFailed)
	require.ErrorIs(t, err, broker.ErrConflict)
	var bound bool
	for _, binding := range b.Bindings(t) {
		bound = bound || binding.Source == names.Dead() && binding.Destination == names.Dead()
	}
	assert.True(t, bound, "the queue of dead letters is missing")
	for _, q := range b.Queues(t) {
		assert.NotEqual(t, work, q.Name)
	}
}

func TestWorkNeedsSharedTopology(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn := broker.NewConnection(configOf(t, b.URL), "publish", nil)
	run(t, conn.Run)
	requireCode(t, conn.Do(bounded(t), func(topology *broker.Topology) error {
		return topology.DeclareWork(taskType)
	}), amqp091.NotFound)
}

func TestCheckSharedSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn := broker.NewConnection(configOf(t, b.URL), "work", nil)
	run(t, conn.Run)
	err := conn.Do(bounded(t), (*broker.Topology).CheckShared)
	requireCode(t, err, amqp091.NotFound)
	require.ErrorContains(t, err, "warren.status is missing, a gateway declares it")

	connect(t, b.URL)
	require.NoError(t, conn.Do(bounded(t), (*broker.Topology).CheckShared))
}

func TestRemoveControl(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, _ := connect(t, b.URL)
	require.NoError(t, conn.Do(bounded(t), func(topology *broker.Topology) error {
		return topology.DeclareControl("w1", 1, nil)
	}))
	before := len(b.Queues(t))
	for range 2 {
		require.NoError(t, conn.Do(bounded(t), func(topology *broker.Topology) error { return topology.RemoveControl("w1", 1) }))
	}
	assert.Len(t, b.Queues(t), before-1)
}

// What a worker may do, as the design says; see workerURL.
func TestWorkersRightsSuffice(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, gateway := connect(t, b.URL)
	cfg := configOf(t, workerURL(t, b))
	conn := broker.NewConnection(cfg, "work", func(topology *broker.Topology) error {
		return errors.Join(topology.CheckShared(), topology.DeclareControl("w1", 1, []string{taskType}))
	})
	p := broker.NewPublisher(conn)
	status := broker.NewStatusWriter(p)
	run(t, conn.Run)
	run(t, status.Run)
	ctx := bounded(t)
	require.NoError(t, p.AwaitReady(ctx))

	receipt, err := status.Write(ctx, event(1))
	require.NoError(t, err)
	require.NoError(t, receipt.Wait(ctx))
	require.NoError(t, p.Probe(ctx))
	require.NoError(t, p.PublishRequest(ctx, &brokerv1.WorkerRequest{}))
	require.NoError(t, p.PublishHeartbeat(ctx, &brokerv1.Heartbeat{}))

	next := links(t, cfg)
	l := next()
	m := publishTask(t, gateway)
	d := receiveTask(t, l)
	got, err := d.Task(taskType)
	require.NoError(t, err)
	assert.Equal(t, m.ID, got.ID)
	require.NoError(t, d.DeadLetter(ctx, death(task.CausePermanentFailure, &task.Failure{Code: 5})))
	brokertest.Eventually(t, within, func() bool { return b.Queue(t, names.Dead()).MessagesReady == 1 })

	control, err := l.Control(ctx, "w1", 1)
	require.NoError(t, err)
	require.NoError(t, control.Credit(1))
	require.NoError(t, gateway.PublishControl(ctx, "w1", &brokerv1.ControlMessage{}))
	told, err := control.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, told.Accept(ctx))
	require.NoError(t, conn.Do(ctx, func(topology *broker.Topology) error { return topology.RemoveControl("w1", 1) }))
}

func TestWorkersRightsEndThere(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	connect(t, b.URL)
	conn := broker.NewConnection(configOf(t, workerURL(t, b)), "work", nil)
	p := broker.NewPublisher(conn)
	run(t, conn.Run)
	ctx := bounded(t)
	require.NoError(t, p.AwaitReady(ctx))

	for what, f := range map[string]func(*broker.Topology) error{
		"shared topology":        (*broker.Topology).DeclareShared,
		"a known work queue":     func(topology *broker.Topology) error { return topology.DeclareWork(taskType) },
		"another work queue":     func(topology *broker.Topology) error { return topology.DeclareWork(otherType) },
		"a queue for heartbeats": func(topology *broker.Topology) error { return topology.DeclareBeats("g1") },
	} {
		t.Run(what, func(t *testing.T) { requireCode(t, conn.Do(ctx, f), amqp091.AccessRefused) })
	}
	for what, f := range map[string]func() error{
		"tasks":        func() error { return p.PublishTask(ctx, newTask(taskType)) },
		"dead letters": func() error { return p.PublishParked(ctx, []byte("x"), "a problem") },
	} {
		t.Run(what, func(t *testing.T) {
			require.NoError(t, p.AwaitReady(ctx))
			require.ErrorIs(t, f(), broker.ErrUnknown)
		})
	}
	require.NoError(t, p.AwaitReady(ctx))
	require.NoError(t, p.Probe(ctx))
	assert.Empty(t, b.Drain(t, work))
	assert.Empty(t, b.Drain(t, names.Dead()))
}

func TestWorkersReadNoDeadLettersAndNoStatus(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	connect(t, b.URL)
	url := workerURL(t, b)
	for _, queue := range []string{names.Dead(), names.Status(), names.Requests()} {
		channel := dialChannel(t, url)
		_, _, err := channel.Get(queue, false)
		requireCode(t, err, amqp091.AccessRefused)
	}
}

// workerURL is for a user with the rights of a worker.
func workerURL(t testing.TB, b brokertest.Broker) string {
	t.Helper()
	return b.DeclareUser(t, "worker-"+b.VHost, "secret",
		`^warren\.control\.w\..*$`,
		`^warren\.(status|announce|control\.w\..*)$`,
		`^warren\.(work\..*|control|control\.w\..*)$`)
}

func dialChannel(t testing.TB, url string) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	require.NoError(t, err)
	return channel
}

func requireCode(t testing.TB, err error, code int) {
	t.Helper()
	var refused *amqp091.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, code, refused.Code, refused.Reason)
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

type exchangeInfo struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
}

func exchanges(t testing.TB, b brokertest.Broker) []exchangeInfo {
	t.Helper()
	var list []exchangeInfo
	require.NoError(t, askManagement(bounded(t), b.ManagementURL+"/api/exchanges/"+url.PathEscape(b.VHost), &list))
	return list
}

func askManagement(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	// Nothing is left over for leak checks to find.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking management: %s", response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

func TestConsumersOfAControlQueue(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, _ := connect(t, b.URL)
	ctx := bounded(t)
	count := func() (consumers int, err error) {
		err = conn.Do(ctx, func(topology *broker.Topology) error {
			consumers, err = topology.ControlConsumers("w1", 2)
			return err
		})
		return consumers, err
	}
	_, err := count()
	require.ErrorIs(t, err, broker.ErrMissing)
	require.NoError(t, conn.Do(ctx, func(topology *broker.Topology) error { return topology.DeclareControl("w1", 2, nil) }))
	requireCount := func(want int) {
		t.Helper()
		brokertest.Eventually(t, within, func() error {
			if n, err := count(); err != nil || n != want {
				return fmt.Errorf("%d consumers, not %d: %w", n, want, err)
			}
			return nil
		})
	}
	requireCount(0)
	// A worker reads it, whether it has asked for messages or not.
	l := links(t, configOf(t, b.URL))()
	control, err := l.Control(ctx, "w1", 2)
	require.NoError(t, err)
	requireCount(1)
	require.NoError(t, control.Credit(1))
	requireCount(1)
	b.CloseConnections(t, 2)
	requireCount(0)
}

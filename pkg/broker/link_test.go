//go:build unix

package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestLinkAccept(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	publishTask(t, p)
	d := receiveTask(t, next())
	assert.EqualValues(t, 1, d.Acquired())
	assert.EqualValues(t, 0, d.Failed())
	assert.Equal(t, 1, d.Attempt())
	assert.Equal(t, "payload", string(d.Body()))
	requireCounts(t, b, work, 0, 1)
	require.NoError(t, d.Accept(bounded(t)))
	requireCounts(t, b, work, 0, 0)
	assert.Empty(t, b.Drain(t, names.Dead()))
}

func TestLinkReleaseCostsNothing(t *testing.T) {
	t.Parallel()
	_, p, next := workplace(t)
	m := publishTask(t, p)
	l := next()
	r := attach(t, l, 3)
	for n := int64(1); n <= 3; n++ {
		d := receive(t, r)
		got, err := d.Task(taskType)
		require.NoError(t, err)
		assert.Equal(t, m.ID, got.ID)
		assert.Equal(t, n, d.Acquired())
		assert.EqualValues(t, 0, d.Failed())
		assert.Equal(t, 1, d.Attempt())
		require.NoError(t, d.Release(bounded(t)))
	}
}

func TestLinkDeadLetter(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	m := newTask(taskType)
	m.Payload = []byte{0, 1, 0xff, 0xfe, '\n', 0}
	m.Priority = task.PriorityHigh
	m.Labels = map[string]string{"customer": "Müller"}
	m.Metadata = map[string][][]byte{"x-bin": {{0, 0xff}}}
	m.Trace = map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
	require.NoError(t, p.PublishTask(bounded(t), m))
	asPublished := peek(t, b, work)
	failure := &task.Failure{
		Code: 5, Message: "no such image", Stack: "goroutine 1",
		Details: []task.Detail{{TypeURL: "type.googleapis.com/acme.v1.Detail", Value: []byte{8, 1}}},
	}
	require.NoError(t, receiveTask(t, next()).DeadLetter(bounded(t), death(task.CausePermanentFailure, failure)))

	dead := getDead(t, b)
	assert.Equal(t, asPublished.Body, dead.Body)
	assert.Equal(t, m.Payload, dead.Body)
	assert.Equal(t, propertiesOf(asPublished), propertiesOf(dead))
	for k, v := range asPublished.Headers {
		assert.Equal(t, v, dead.Headers[k], k)
	}
	assert.Equal(t, taskType, dead.RoutingKey)
	assert.Equal(t, names.Dead(), dead.Exchange)
	assert.Equal(t, "rejected", dead.Headers["x-first-death-reason"])
	assert.Equal(t, work, dead.Headers["x-first-death-queue"])
	assert.Equal(t, "PERMANENT_FAILURE", dead.Headers["x-opt-warren-cause"])
	assert.EqualValues(t, 1, dead.Headers["x-opt-warren-attempt"])
	assert.Equal(t, failure, failureOf(t, dead))
	requireCounts(t, b, work, 0, 0)
}

func TestLinkDeadLetterWithoutFailure(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	publishTask(t, p)
	require.NoError(t, receiveTask(t, next()).DeadLetter(bounded(t), death(task.CauseUndecodable, nil)))
	assert.Equal(t, "UNDECODABLE", getDead(t, b).Headers["x-opt-warren-cause"])
}

func TestLinkDeadLetterCutsTheFailure(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	publishTask(t, p)
	long := &task.Failure{
		Code: 13, Message: strings.Repeat("世界", 20<<10), Stack: strings.Repeat("s", 20<<10),
		Details: []task.Detail{{TypeURL: "t", Value: make([]byte, 20<<10)}},
	}
	require.NoError(t, receiveTask(t, next()).DeadLetter(bounded(t), death(task.CauseAttemptsExhausted, long)))
	dead := getDead(t, b)
	got := failureOf(t, dead)
	assert.Equal(t, 13, got.Code)
	assert.Empty(t, got.Details)
	assert.Empty(t, got.Stack)
	assert.True(t, strings.HasPrefix(long.Message, got.Message))
	assert.Greater(t, len(got.Message), 15<<10)
}

func TestFailureIsCutToWhatMayTravel(t *testing.T) {
	t.Parallel()
	const limit = broker.MaxFailureAnnotation
	details := []task.Detail{{TypeURL: "t", Value: make([]byte, 100)}}
	for what, tc := range map[string]struct {
		in            task.Failure
		details, text bool
		stack         string
	}{
		"small":           {task.Failure{Code: 5, Message: "m", Details: details, Stack: "s"}, true, true, "s"},
		"large details":   {task.Failure{Code: 5, Message: "m", Stack: "s", Details: []task.Detail{{Value: make([]byte, limit)}}}, false, true, "s"},
		"large stack":     {task.Failure{Code: 5, Message: "m", Stack: strings.Repeat("s", limit), Details: details}, false, true, ""},
		"large message":   {task.Failure{Code: 5, Message: strings.Repeat("m", 2*limit), Stack: "s", Details: details}, false, false, ""},
		"negative code":   {task.Failure{Code: -1, Message: strings.Repeat("m", limit)}, false, false, ""},
		"message at edge": {task.Failure{Code: 5, Message: strings.Repeat("m", limit-5)}, false, true, ""},
		"one over":        {task.Failure{Code: 5, Message: strings.Repeat("m", limit-4)}, false, false, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			got := decodeFailure(t, encodeFailure(t, &tc.in))
			assert.Equal(t, tc.in.Code, got.Code)
			assert.Equal(t, tc.details, len(got.Details) > 0)
			assert.Equal(t, tc.stack, got.Stack)
			assert.Equal(t, tc.text, tc.in.Message == got.Message)
			assert.True(t, strings.HasPrefix(tc.in.Message, got.Message))
		})
	}
	// A cut falls on every byte of a character in turn.
	for shift := range 8 {
		for _, r := range []string{"é", "世", "🐇"} {
			in := strings.Repeat("a", shift) + strings.Repeat(r, limit)
			got := decodeFailure(t, encodeFailure(t, &task.Failure{Code: 5, Message: in})).Message
			assert.True(t, utf8.ValidString(got))
			assert.True(t, strings.HasPrefix(in, got))
			assert.Greater(t, len(got), limit-32)
		}
	}
}

func TestLinkLossEndsTheContextAndCounts(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	proxy := brokertest.NewProxy(t, b.URL)
	next := links(t, configOf(t, proxy.URL()))
	publishTask(t, p)
	for n := range int64(3) {
		l := next()
		d := receiveTask(t, l)
		assert.Equal(t, n+1, d.Acquired())
		assert.Equal(t, n, d.Failed())
		assert.Equal(t, 1, d.Attempt())
		proxy.Drop()
		requireEnd(t, l.done, "the end of the link's context")
		require.ErrorIs(t, l.cause(), broker.ErrDeliveryLost)
		require.Error(t, d.Accept(bounded(t)), "a delivery of a link that is gone was settled")
	}
	requireCounts(t, b, work, 1, 0)
}

// The peer may be gone without a word.
func TestSilentLinkIsGivenUp(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	connect(t, b.URL)
	proxy := brokertest.NewProxy(t, b.URL)
	l := links(t, configOf(t, proxy.URL()))()
	proxy.Stall()
	requireEnd(t, l.done, "the end of the link's context")
	require.ErrorIs(t, l.cause(), broker.ErrDeliveryLost)
}

func TestCloseOfAReceiverCountsForNothing(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	publishTask(t, p)
	publishTask(t, p)
	l := next()
	r := attach(t, l, 2)
	receive(t, r)
	// One is held, the other may still be on its way.
	require.NoError(t, r.Close(bounded(t)))
	requireCounts(t, b, work, 2, 0)
	again := attach(t, l, 2)
	var acquired int64
	for range 2 {
		d := receive(t, again)
		acquired += d.Acquired()
		assert.EqualValues(t, 0, d.Failed())
		require.NoError(t, d.Accept(bounded(t)))
	}
	assert.GreaterOrEqual(t, acquired, int64(3), "at least one was delivered before")
}

func TestDrainWithoutMessages(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	r := attach(t, next(), 5)
	require.NoError(t, r.Drain(bounded(t)))
	assert.Nil(t, r.Prefetched())
	// The credit is gone.
	publishTask(t, p)
	require.NoError(t, r.Drain(bounded(t)))
	assert.Nil(t, r.Prefetched())
	requireCounts(t, b, work, 1, 0)
	// And can be had again.
	require.NoError(t, r.Credit(1))
	require.NoError(t, receive(t, r).Accept(bounded(t)))
}

func TestDrainWithMessagesOnTheirWay(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	const n = 50
	for range n {
		publishTask(t, p)
	}
	r := attach(t, next(), n+10)
	first := receive(t, r)
	require.NoError(t, r.Drain(bounded(t)))
	held := []*broker.WorkDelivery{first}
	for d := r.Prefetched(); d != nil; d = r.Prefetched() {
		held = append(held, d)
	}
	assert.Len(t, held, n, "a message came after the drain, or was lost by it")
	for _, d := range held {
		require.NoError(t, d.Release(bounded(t)))
	}
	requireCounts(t, b, work, n, 0)
}

func TestCreditBoundsWhatArrives(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	for range 10 {
		publishTask(t, p)
	}
	r := attach(t, next(), 3)
	first := receive(t, r)
	receive(t, r)
	receive(t, r)
	requireCounts(t, b, work, 7, 3)
	// Settling gives no credit back.
	require.NoError(t, first.Accept(bounded(t)))
	requireCounts(t, b, work, 7, 2)
	require.NoError(t, r.Drain(bounded(t)))
	assert.Nil(t, r.Prefetched())

	require.NoError(t, r.Credit(1))
	require.NoError(t, r.Credit(1))
	receive(t, r)
	receive(t, r)
	requireCounts(t, b, work, 5, 4)
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, p, next := workplace(t)
	r := attach(t, next(), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.Receive(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	// The receiver goes on.
	publishTask(t, p)
	require.NoError(t, receive(t, r).Accept(bounded(t)))
}

func TestSettlingFromManyGoroutines(t *testing.T) {
	t.Parallel()
	const n = 100
	b, p, next := workplace(t)
	for range n {
		publishTask(t, p)
	}
	r := attach(t, next(), n)
	settled := make(chan error, n)
	for i := range n {
		d := receive(t, r)
		go func() {
			switch i % 2 {
			case 0:
				settled <- d.Accept(bounded(t))
			default:
				settled <- d.DeadLetter(bounded(t), death(task.CausePermanentFailure, nil))
			}
		}()
	}
	for range n {
		require.NoError(t, requireNext(t, settled, "a settlement"))
	}
	requireCounts(t, b, work, 0, 0)
	requireCounts(t, b, names.Dead(), n/2, 0)
}

func TestWorkOfAMissingQueue(t *testing.T) {
	t.Parallel()
	b, _, next := workplace(t)
	_, err := next().Work(bounded(t), otherType)
	require.ErrorContains(t, err, names.Work(otherType))
	for _, q := range b.Queues(t) {
		assert.NotEqual(t, names.Work(otherType), q.Name, "it was made")
	}
}

func TestRunLinksEndsWhenServeIsDone(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	done := make(chan struct{})
	var calls int
	go func() {
		defer close(done)
		broker.RunLinks(bounded(t), configOf(t, b.URL), func(context.Context, *broker.Link, func()) error {
			if calls++; calls < 3 {
				return errors.New("not now")
			}
			return nil
		})
	}()
	requireEnd(t, done, "the end of the links")
	assert.Equal(t, 3, calls)
}

func TestRunLinksEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	served := make(chan error, 1)
	stop := run(t, func(ctx context.Context) {
		broker.RunLinks(ctx, configOf(t, b.URL), func(ctx context.Context, _ *broker.Link, up func()) error {
			up()
			served <- nil
			<-ctx.Done()
			served <- context.Cause(ctx)
			return nil
		})
	})
	requireNext(t, served, "a link")
	stop()
	err := requireNext(t, served, "the end of the link")
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, broker.ErrDeliveryLost)
}

// workplace is a virtual host with a gateway's publisher and links to take
// tasks on.
func workplace(t testing.TB) (brokertest.Broker, *broker.Publisher, func() openLink) {
	t.Helper()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	return b, p, links(t, configOf(t, b.URL))
}

// peek looks at the next message of the queue and puts it back.
func peek(t testing.TB, b brokertest.Broker, queue string) amqp091.Delivery {
	t.Helper()
	const autoAck, multiple, requeue = false, false, true
	channel := b.Channel(t)
	m, ok, err := channel.Get(queue, autoAck)
	require.NoError(t, err)
	require.True(t, ok, "%s is empty", queue)
	require.NoError(t, channel.Nack(m.DeliveryTag, multiple, requeue))
	require.NoError(t, channel.Close())
	return m
}

func getDead(t testing.TB, b brokertest.Broker) (dead amqp091.Delivery) {
	t.Helper()
	brokertest.Eventually(t, within, func() (ok bool) {
		dead, ok = b.Get(t, names.Dead())
		return ok
	})
	return dead
}

// propertiesOf are a message's, less its headers.
func propertiesOf(d amqp091.Delivery) amqp091.Publishing {
	return amqp091.Publishing{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration, MessageId: d.MessageId,
		Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId,
	}
}

// failureOf is the failure in the annotations of a dead letter.
func failureOf(t testing.TB, dead amqp091.Delivery) *task.Failure {
	t.Helper()
	switch encoded := dead.Headers["x-opt-warren-failure"].(type) {
	case []byte:
		return decodeFailure(t, encoded)
	case string:
		return decodeFailure(t, []byte(encoded))
	default:
		t.Fatalf("the failure is %T", encoded)
		return nil
	}
}

func encodeFailure(t testing.TB, f *task.Failure) []byte {
	t.Helper()
	encoded, err := broker.EncodeFailure(f)
	require.NoError(t, err)
	return encoded
}

func decodeFailure(t testing.TB, encoded []byte) *task.Failure {
	t.Helper()
	assert.LessOrEqual(t, len(encoded), broker.MaxFailureAnnotation)
	var m taskv1.Failure
	require.NoError(t, proto.Unmarshal(encoded, &m))
	return broker.FailureFromProto(&m)
}

func death(c task.Cause, f *task.Failure) broker.Death {
	return broker.Death{Cause: c, Failure: f, Attempt: 1}
}

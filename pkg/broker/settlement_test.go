package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

func TestRetryWaitsInTheBroker(t *testing.T) {
	t.Parallel()
	_, p, next := workplace(t)
	m := publishTask(t, p)
	l := next()
	d := receiveTask(t, l)
	history := &brokerv1.AttemptHistory{Ignored: 3, Attempts: []*brokerv1.PastAttempt{{Attempt: 1, Decision: "why"}}}
	at := time.Now().Add(400 * time.Millisecond).Truncate(time.Millisecond)
	require.NoError(t, d.Retry(bounded(t), broker.Again{At: at, Attempt: 2, Alone: true, History: history}))

	d = receiveTask(t, l)
	assert.False(t, time.Now().Before(at), "came %v early", time.Until(at))
	got, err := d.Task(taskType)
	require.NoError(t, err)
	assert.Equal(t, m.ID, got.ID)
	assert.Equal(t, 2, d.Attempt())
	assert.EqualValues(t, 2, d.Acquired())
	assert.EqualValues(t, 1, d.Settled())
	assert.Zero(t, d.Failed())
	assert.True(t, d.Alone())
	assert.True(t, proto.Equal(history, d.History()))

	for n := int64(3); n <= 4; n++ {
		require.NoError(t, d.Postpone(bounded(t), time.Now()))
		d = receiveTask(t, l)
		assert.Equal(t, 2, d.Attempt())
		assert.Equal(t, n, d.Acquired())
		assert.EqualValues(t, 1, d.Settled(), "it was not settled for another attempt")
		from, to := d.PutOff()
		assert.Equal(t, []int64{2, n - 1}, []int64{from, to})
		assert.True(t, d.Alone())
		assert.Len(t, d.History().Attempts, 1)
	}
	require.NoError(t, d.Accept(bounded(t)))
}

func TestRetryStartsTheCountOfFailedDeliveriesAnew(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	publishTask(t, p)
	receiveTask(t, next())
	b.CloseConnections(t, 2)

	l := next()
	d := receiveTask(t, l)
	assert.EqualValues(t, 1, d.Failed())
	require.NoError(t, d.Retry(bounded(t), broker.Again{At: time.Now(), Attempt: 2}))
	d = receiveTask(t, l)
	assert.Zero(t, d.Failed())
	assert.EqualValues(t, 2, d.Settled())
	require.NoError(t, d.Accept(bounded(t)))
}

func TestHistoryIsCutToWhatMayTravel(t *testing.T) {
	t.Parallel()
	h := &brokerv1.AttemptHistory{}
	for i := range 200 {
		h.Attempts = append(h.Attempts, &brokerv1.PastAttempt{
			Attempt: int32(i + 1), Reason: "QUOTA",
			Failure: &taskv1.Failure{Code: 14, Message: strings.Repeat("é", 2000), Stack: strings.Repeat("s", 9000)},
		})
	}
	b, err := broker.EncodeHistory(h)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(b), 32<<10)
	var got brokerv1.AttemptHistory
	require.NoError(t, proto.Unmarshal(b, &got))
	assert.Equal(t, 200, len(got.Attempts)+int(got.Omitted))
	last := got.Attempts[len(got.Attempts)-1]
	assert.EqualValues(t, 200, last.Attempt)
	assert.Len(t, last.Failure.Message, 4000)
	assert.Len(t, last.Failure.Stack, 9000)
	assert.LessOrEqual(t, len(got.Attempts[0].Failure.Message), 1<<10)
	assert.Empty(t, got.Attempts[0].Failure.Stack)
	assert.Len(t, h.Attempts, 200, "the argument is not changed")
}

func TestExpirationInTheBroker(t *testing.T) {
	t.Parallel()
	b, p, _ := workplace(t)
	m := newTask(taskType)
	m.ExpireTime, m.ExpireInBroker = time.Now().Add(100*time.Millisecond), true
	require.NoError(t, p.PublishTask(bounded(t), m))
	dead := getDead(t, b)
	assert.Equal(t, "expired", dead.Headers["x-first-death-reason"])
	assert.Equal(t, m.Payload, dead.Body)
}

func TestPublishDead(t *testing.T) {
	t.Parallel()
	b, p, _ := workplace(t)
	m := newTask(taskType)
	m.ExpireTime, m.ExpireInBroker = time.Now().Add(time.Millisecond), true
	require.NoError(t, p.PublishDead(bounded(t), m, broker.Death{Cause: task.CauseQueueOverflow, Decision: "full", Attempt: 1}))
	dead := getDead(t, b)
	assert.Equal(t, m.ID, dead.MessageId)
	assert.Equal(t, taskType, dead.RoutingKey)
	assert.Equal(t, "QUEUE_OVERFLOW", dead.Headers["x-opt-warren-cause"])
	assert.Equal(t, "full", dead.Headers["x-opt-warren-decision"])
	requireCounts(t, b, work, 0, 0)
}

// What may travel with a message fits into one frame of AMQP 0-9-1, with all of
// it at its limit: RabbitMQ closes the connection of who consumes more.
func TestLargestDeadLetterCanBeRead(t *testing.T) {
	t.Parallel()
	b, p, next := workplace(t)
	m := newTask(taskType)
	m.Metadata = map[string][][]byte{"x": {make([]byte, broker.MaxHeaderBytes-200)}}
	m.Trace = map[string]string{"tracestate": strings.Repeat("t", broker.MaxTraceBytes)}
	require.NoError(t, p.PublishTask(bounded(t), m))
	l := next()
	d := receiveTask(t, l)
	h := &brokerv1.AttemptHistory{}
	for i := range 100 {
		h.Attempts = append(h.Attempts, &brokerv1.PastAttempt{Attempt: int32(i), Failure: &taskv1.Failure{Message: strings.Repeat("m", 2000), Stack: strings.Repeat("s", 8<<10)}})
	}
	require.NoError(t, d.Retry(bounded(t), broker.Again{At: time.Now(), Attempt: 2, History: h}))
	d = receiveTask(t, l)
	require.NoError(t, d.DeadLetter(bounded(t), broker.Death{
		Cause: task.CausePermanentFailure, Decision: strings.Repeat("d", 2000), Attempt: 2, History: h,
		Failure: &task.Failure{Code: 5, Message: strings.Repeat("f", 20<<10)},
	}))
	assert.Equal(t, m.ID, getDead(t, b).MessageId)
}

//go:build unix

package broker_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestTaskMessageArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	_, p, next := workplace(t)
	r := attach(t, next(), 10)
	for what, change := range map[string]func(*broker.TaskMessage){
		"plain":   func(*broker.TaskMessage) {},
		"payload": func(m *broker.TaskMessage) { m.Payload = []byte{0, 0xff, 0x80, '\r', '\n'} },
		// Larger than a frame of either protocol.
		"large payload": func(m *broker.TaskMessage) { m.Payload = bytes.Repeat([]byte{1, 2, 3}, 1<<20) },
		"resend":        func(m *broker.TaskMessage) { m.Resend, m.Run = true, 7 },
		"priority":      func(m *broker.TaskMessage) { m.Priority = task.PriorityCritical },
		"labels": func(m *broker.TaskMessage) {
			m.Labels = map[string]string{"a": "", "größe": "世界", "x-death": "label"}
		},
		"metadata": func(m *broker.TaskMessage) {
			m.Metadata = map[string][][]byte{
				"x-request-id": {[]byte("r1"), []byte("r2")},
				"x-trace-bin":  {{0, 0xff, 0xfe}, {0x80}},
			}
		},
		"trace": func(m *broker.TaskMessage) {
			m.Trace = map[string]string{
				"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
				"tracestate":  "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			m := newTask(taskType)
			m.Trace = map[string]string{}
			change(m)
			require.NoError(t, p.PublishTask(bounded(t), m))
			d := receive(t, r)
			got, err := d.Task(taskType)
			require.NoError(t, err)
			assert.Equal(t, *m, got)
			require.NoError(t, d.Accept(bounded(t)))
		})
	}
}

func TestHeadOfATask(t *testing.T) {
	t.Parallel()
	m := newTask(taskType)
	m.Labels, m.ExpireTime, m.ScheduleID = map[string]string{"a": "b"}, m.CreateTime.Add(time.Hour), "nightly"
	m.Trace = map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	require.Equal(t, &task.Head{
		CreateTime: m.CreateTime, Priority: task.PriorityNormal, Labels: m.Labels, TraceID: "0af7651916cd43dd8448eb211c80319c",
		ExpireTime: m.ExpireTime, ScheduleID: "nightly",
	}, m.Head())
	m.Trace = nil
	require.Empty(t, m.Head().TraceID)
}

func TestTaskMessageWithEmptyPayload(t *testing.T) {
	t.Parallel()
	_, p, next := workplace(t)
	m := newTask(taskType)
	m.Payload = nil
	require.NoError(t, p.PublishTask(bounded(t), m))
	got, err := receiveTask(t, next()).Task(taskType)
	require.NoError(t, err)
	assert.Empty(t, got.Payload)
	assert.Equal(t, m.ID, got.ID)
}

func TestTaskMessageTakesOnlyTraceHeaders(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	m := newTask(taskType)
	m.Trace = map[string]string{"traceparent": "tp", "tracestate": "", "x-death": "no", "CC": "no", "authorization": "no", "baggage": "no"}
	require.NoError(t, p.PublishTask(bounded(t), m))
	got, ok := b.Get(t, work)
	require.True(t, ok)
	assert.Len(t, got.Headers, 2)
	assert.Equal(t, "tp", got.Headers["traceparent"])
	assert.IsType(t, []byte{}, got.Headers["warren-task"])
}

func TestTaskMessageWithTooLargeAHeader(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	for _, change := range []func(*broker.TaskMessage){
		func(m *broker.TaskMessage) {
			m.Labels = map[string]string{"l": strings.Repeat("x", broker.MaxHeaderBytes)}
		},
		func(m *broker.TaskMessage) { m.Metadata = map[string][][]byte{"m-bin": {make([]byte, 1<<20)}} },
	} {
		m := newTask(taskType)
		change(m)
		err := p.PublishTask(bounded(t), m)
		require.ErrorIs(t, err, broker.ErrNotSent)
		require.ErrorContains(t, err, "labels and metadata")
		require.NoError(t, p.Ready())
		require.True(t, conn.Connected())
	}
	publishTask(t, p)
	assert.Len(t, b.Drain(t, work), 1)
}

// The broker takes the largest header that may be sent.
func TestTaskMessageWithTheLargestHeader(t *testing.T) {
	t.Parallel()
	_, p, next := workplace(t)
	m := newTask(taskType)
	m.Trace = map[string]string{}
	m.Metadata = map[string][][]byte{"m-bin": {bytes.Repeat([]byte{0xff}, broker.MaxHeaderBytes-128)}}
	require.NoError(t, p.PublishTask(bounded(t), m))
	got, err := receiveTask(t, next()).Task(taskType)
	require.NoError(t, err)
	assert.Equal(t, *m, got)
}

func TestTaskMessageThatIsNoValidUTF8(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	m := newTask(taskType)
	m.Labels = map[string]string{"l": "\xff"}
	require.ErrorIs(t, p.PublishTask(bounded(t), m), broker.ErrNotSent)
	require.NoError(t, p.Ready())
}

func TestForeignMessages(t *testing.T) {
	t.Parallel()
	b, _, next := workplace(t)
	r := attach(t, next(), 100)
	valid, err := broker.EncodeTaskHeader(newTask(taskType))
	require.NoError(t, err)
	for what, message := range map[string]amqp091.Publishing{
		"nothing":          {},
		"body only":        {Body: []byte("hello")},
		"other headers":    {Headers: amqp091.Table{"a": "b", "traceparent": int32(7)}},
		"text header":      {Headers: amqp091.Table{"warren-task": "text"}},
		"number header":    {Headers: amqp091.Table{"warren-task": int64(1)}},
		"table header":     {Headers: amqp091.Table{"warren-task": amqp091.Table{"a": "b"}}},
		"list header":      {Headers: amqp091.Table{"warren-task": []any{"a", int32(1)}}},
		"empty header":     {Headers: amqp091.Table{"warren-task": []byte{}}},
		"garbled header":   {Headers: amqp091.Table{"warren-task": []byte{0xff, 0xff, 0xff}}},
		"truncated header": {Headers: amqp091.Table{"warren-task": valid[:len(valid)-1]}},
		"forged counts":    {Headers: amqp091.Table{"x-acquired-count": "many", "x-opt-warren-attempt": "x", "x-opt-warren-count": []byte{1}}},
	} {
		t.Run(what, func(t *testing.T) {
			message.MessageId = "some id"
			b.Publish(t, names.Tasks(), taskType, message)
			d := receive(t, r)
			got, err := d.Task(taskType)
			require.ErrorContains(t, err, "warren-task")
			// What could be read is there, so that it can be given up by name.
			assert.Equal(t, "some id", got.ID)
			assert.Equal(t, taskType, got.Type)
			assert.Equal(t, string(message.Body), string(got.Payload))
			assert.Equal(t, 1, got.Run)
			assert.Equal(t, 1, d.Attempt())
			assert.EqualValues(t, 1, d.Acquired())
			assert.EqualValues(t, 0, d.Failed())
			require.NoError(t, d.DeadLetter(bounded(t), death(task.CauseUndecodable, &task.Failure{Code: 3, Message: err.Error()})))
		})
	}
}

func TestForeignMessageWithoutID(t *testing.T) {
	t.Parallel()
	b, _, next := workplace(t)
	b.Publish(t, names.Tasks(), taskType, amqp091.Publishing{})
	got, err := receiveTask(t, next()).Task(taskType)
	require.Error(t, err)
	assert.Empty(t, got.ID)
}

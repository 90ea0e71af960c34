package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

func TestStoredTasksAreReadAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := drawStored(t)
		b, err := broker.EncodeTask(&m)
		require.NoError(t, err)
		got, err := broker.DecodeTask(b)
		require.NoError(t, err)
		m.RunTime = m.CreateTime
		require.Equal(t, m, *got)
	})
}

// drawStored draws a task that a store keeps.
func drawStored(t *rapid.T) broker.TaskMessage {
	text := rapid.String()
	at := rapid.Map(rapid.Int64Range(0, 1<<33), func(s int64) time.Time { return time.Unix(s, 5000).UTC() })
	m := broker.TaskMessage{
		ID: task.NewID(), Type: rapid.StringN(1, 40, -1).Draw(t, "type"), Payload: drawBytes(t, "payload"),
		Run: rapid.IntRange(1, 1<<31-1).Draw(t, "run"), Copy: task.NewCopy(), Resend: rapid.Bool().Draw(t, "resend"),
		CreateTime: at.Draw(t, "create"), Priority: rapid.IntRange(1, 9).Draw(t, "priority"),
		Labels: orNil(t, "labels", rapid.MapOfN(text, text, 1, 4)), Trace: orNil(t, "trace", rapid.MapOfN(text, text, 1, 2)),
		ExpireTime: orNil(t, "expires", at), ScheduleID: text.Draw(t, "schedule"),
	}
	for key, values := range drawMetadata(t, "metadata") {
		if m.Metadata == nil {
			m.Metadata = map[string][][]byte{}
		}
		for _, v := range values {
			m.Metadata[key] = append(m.Metadata[key], []byte(v))
		}
	}
	return m
}

func TestStoredTasksKeepTheirOwnPolicy(t *testing.T) {
	t.Parallel()
	m := broker.TaskMessage{
		ID: task.NewID(), Type: "a.v1.A.B", Run: 1, Timeout: durationpb.New(time.Minute),
		Retry: &taskv1.RetryPolicy{MaxAttempts: 3}, ExpireTime: time.Unix(9, 0), ExpireInBroker: true,
	}
	b, err := broker.EncodeTask(&m)
	require.NoError(t, err)
	got, err := broker.DecodeTask(b)
	require.NoError(t, err)
	require.Equal(t, time.Minute, got.Timeout.AsDuration())
	require.EqualValues(t, 3, got.Retry.GetMaxAttempts())
	require.False(t, got.ExpireInBroker, "who publishes it says")
}

func TestStoredTasksAreNoLargerThanMayBeSent(t *testing.T) {
	t.Parallel()
	small := func() *broker.TaskMessage {
		return &broker.TaskMessage{ID: task.NewID(), Type: "a.v1.A.B", Run: 1, Trace: map[string]string{"traceparent": "p"}}
	}
	for name, spoil := range map[string]func(*broker.TaskMessage){
		"header": func(m *broker.TaskMessage) {
			m.Labels = map[string]string{"a": strings.Repeat("x", broker.MaxHeaderBytes)}
		},
		"trace": func(m *broker.TaskMessage) { m.Trace["tracestate"] = strings.Repeat("t", broker.MaxTraceBytes) },
		"id":    func(m *broker.TaskMessage) { m.ID = strings.Repeat("i", 256) },
		"type":  func(m *broker.TaskMessage) { m.Type = strings.Repeat("t", 256) },
	} {
		m := small()
		spoil(m)
		_, err := broker.EncodeTask(m)
		require.ErrorIs(t, err, broker.ErrNotSent, name)
		require.ErrorIs(t, err, broker.ErrTooLarge, name)
		_, err = broker.EncodeTaskHeader(m)
		require.ErrorIs(t, err, broker.ErrNotSent, name)
	}
	m := small()
	m.Labels = map[string]string{"a": "no utf-8: \xff"}
	_, err := broker.EncodeTask(m)
	require.Error(t, err)
}

// What a store takes can be published, though that adds to it.
func TestStoredTasksCanBeSentLater(t *testing.T) {
	t.Parallel()
	m := &broker.TaskMessage{ID: task.NewID(), Type: "a.v1.A.B", Run: 1, CreateTime: time.Unix(1, 0), RunTime: time.Unix(1, 0)}
	encoded := false
	for size := broker.MaxHeaderBytes; size > broker.MaxHeaderBytes-300 && !encoded; size-- {
		m.Labels = map[string]string{"a": strings.Repeat("x", size)}
		_, err := broker.EncodeTask(m)
		encoded = err == nil
	}
	require.True(t, encoded)
	m.Copy, m.Resend, m.RunTime = task.NewCopy(), true, time.Unix(1<<40, 999_999_999)
	_, err := broker.EncodeTaskHeader(m)
	require.NoError(t, err)
}

func TestTraceContextsAreLimited(t *testing.T) {
	t.Parallel()
	for state, keeps := range map[string]bool{"a=b": true, strings.Repeat("t", broker.MaxTraceBytes): false} {
		m := &broker.TaskMessage{ID: task.NewID(), Type: "a.v1.A.B", Run: 1, Trace: map[string]string{"traceparent": "p", "tracestate": state}}
		m.LimitTrace()
		require.NoError(t, m.CheckSize())
		require.Equal(t, "p", m.Trace["traceparent"])
		require.Equal(t, keeps, m.Trace["tracestate"] != "")
	}
}

func TestWhatIsNoStoredTask(t *testing.T) {
	t.Parallel()
	none, err := broker.EncodeTask(&broker.TaskMessage{ID: task.NewID(), Type: "a.v1.A.B"})
	require.NoError(t, err)
	for what, b := range map[string][]byte{"nothing": nil, "garbage": []byte("hello"), "no run": none} {
		_, err := broker.DecodeTask(b)
		require.Error(t, err, what)
	}
}

func FuzzDecodeTask(f *testing.F) {
	for _, m := range []broker.TaskMessage{
		{ID: task.NewID(), Type: "a.v1.A.B", Run: 1, Payload: []byte("p")},
		{Run: 3, Copy: task.Copy{9}, Resend: true, ScheduleID: "nightly", Trace: map[string]string{"traceparent": "00"}},
		{Run: 1, Labels: map[string]string{"a": "b"}, Metadata: map[string][][]byte{"x-bin": {{0xff}, {}}}},
	} {
		b, err := broker.EncodeTask(&m)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := broker.DecodeTask(b)
		if err != nil {
			return
		}
		// What can be read can be written, unless it is larger than may be sent,
		// and is then what is read for ever.
		encoded, err := broker.EncodeTask(m)
		if err != nil {
			require.ErrorIs(t, err, broker.ErrNotSent)
			return
		}
		once, err := broker.DecodeTask(encoded)
		require.NoError(t, err)
		encoded, err = broker.EncodeTask(once)
		require.NoError(t, err)
		again, err := broker.DecodeTask(encoded)
		require.NoError(t, err)
		require.Equal(t, once, again)
	})
}

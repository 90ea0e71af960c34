package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

func FuzzDecodeEvent(f *testing.F) {
	key := task.Key{Run: 1, Attempt: 2, Delivery: 3, Phase: task.PhaseSucceeded, Sequence: 4, Copy: task.Copy{5}}
	queued, progress := key, key
	queued.Phase, progress.Phase = task.PhaseQueued, task.PhaseProgress
	const id = "018f2d3c-5a6b-7c8d-9e0f-112233445566"
	for _, e := range []task.Event{
		{TaskID: id, Type: "a.B.C", Key: key, Message: []byte("m"), WorkerID: "w"},
		{TaskID: id, Type: "a.B.C", Key: queued, Payload: &task.Payload{Size: 1, Bytes: []byte("p")}, Head: &task.Head{Labels: map[string]string{"a": "b"}, TraceID: "0a"}},
		{TaskID: id, Type: "a.B.C", Key: progress, Progress: &task.ProgressReport{Fraction: 0.5, Message: "half"}},
		{TaskID: id, Type: "a.B.C", Key: key, Failure: &task.Failure{Code: 5, Details: []task.Detail{{TypeURL: "t", Value: []byte{1}}}}, Execution: &task.Execution{Host: "h"}},
		{TaskID: id, Type: "a.B.C", Key: key, Headers: task.Metadata{"a": {"1", "2"}}, Trailers: task.Metadata{"b-bin": {"\xff"}}},
	} {
		b, err := broker.EncodeEvent(&e)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add([]byte{0x1a, 0x10})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := broker.DecodeEvent(b)
		if err != nil {
			return
		}
		// What can be read can be written, and is then what is read for ever.
		again := recode(t, recode(t, e))
		require.Equal(t, recode(t, e), again)
	})
}

func recode(t *testing.T, e task.Event) task.Event {
	t.Helper()
	b, err := broker.EncodeEvent(&e)
	require.NoError(t, err)
	e, err = broker.DecodeEvent(b)
	require.NoError(t, err)
	return e
}

func FuzzDecodeStatusBatch(f *testing.F) {
	for _, batch := range []broker.StatusBatch{
		{}, {Markers: []string{"m"}}, {Events: [][]byte{{1, 2}, {}}, Markers: []string{"", "ü"}},
	} {
		b, err := batch.Encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, err := broker.DecodeStatusBatch(b)
		if err != nil {
			return
		}
		encoded, err := batch.Encode()
		require.NoError(t, err)
		again, err := broker.DecodeStatusBatch(encoded)
		require.NoError(t, err)
		require.Equal(t, batch, again)
	})
}

func FuzzTaskHeader(f *testing.F) {
	for _, m := range []broker.TaskMessage{
		{Run: 1},
		{Run: 3, Copy: task.Copy{9}, Resend: true, Priority: 9, CreateTime: time.Unix(1, 2)},
		{Run: 1, Labels: map[string]string{"a": "b"}, Metadata: map[string][][]byte{"x-bin": {{0xff}, {}}}},
	} {
		b, err := broker.EncodeTaskHeader(&m)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add([]byte{0x12, 0x10})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := broker.DecodeTaskHeader(b)
		if err != nil {
			return
		}
		// What can be read can be written, unless it is larger than may be sent,
		// and is then what is read for ever.
		once, err := recodeHeader(m)
		if err != nil {
			require.ErrorIs(t, err, broker.ErrNotSent)
			return
		}
		again, err := recodeHeader(once)
		require.NoError(t, err)
		require.Equal(t, once, again)
	})
}

func recodeHeader(m broker.TaskMessage) (broker.TaskMessage, error) {
	b, err := broker.EncodeTaskHeader(&m)
	if err != nil {
		return m, err
	}
	return broker.DecodeTaskHeader(b)
}

func FuzzStartRequest(f *testing.F) {
	b, err := proto.Marshal(broker.StartRequestToProto(task.StartRequest{
		TaskID: "018f2d3c-5a6b-7c8d-9e0f-112233445566", Run: 2, Attempt: 3, Copy: task.Copy{1}, Delivery: 4, SettledDelivery: 3, Failed: 1, Resend: true,
	}))
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &brokerv1.StartRequest{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		r, err := broker.StartRequestFromProto("id", m)
		if err != nil {
			return
		}
		again, err := broker.StartRequestFromProto("id", broker.StartRequestToProto(r))
		require.NoError(t, err)
		require.Equal(t, r, again)
		// Whatever is asked, the decision does not panic.
		task.DecideStart(r, nil, nil, nil)
	})
}

func FuzzStartAnswer(f *testing.F) {
	outcome := &task.Event{
		TaskID: "018f2d3c-5a6b-7c8d-9e0f-112233445566", Type: "a.B.C", Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseRetrying},
		NextAttempt: 2, NextAttemptTime: time.Unix(1, 0),
	}
	for _, a := range []task.StartAnswer{
		{Verdict: task.VerdictStart, Crashes: 2}, {Verdict: task.VerdictRepeat, Outcome: outcome}, {Verdict: task.VerdictStart, Crashed: outcome},
	} {
		m, err := broker.StartAnswerToProto("id", a)
		require.NoError(f, err)
		b, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &brokerv1.StartAnswer{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		a, err := broker.StartAnswerFromProto(m)
		if err != nil {
			return
		}
		_, err = broker.StartAnswerToProto("id", a)
		require.NoError(t, err)
		require.True(t, a.Verdict != task.VerdictRepeat || a.Outcome != nil)
	})
}

func FuzzHistory(f *testing.F) {
	b, err := broker.EncodeHistory(&brokerv1.AttemptHistory{Ignored: 1, Attempts: []*brokerv1.PastAttempt{{Attempt: 1, Decision: "why"}}})
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &brokerv1.AttemptHistory{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		// What was read can be written, and is bounded.
		again, err := broker.EncodeHistory(m)
		require.NoError(t, err)
		if len(m.Attempts) != 1 {
			require.LessOrEqual(t, len(again), 33<<10)
		}
	})
}

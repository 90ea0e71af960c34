package broker_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

func TestEventsSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		require.NoError(t, e.Validate())
		encoded, err := broker.EncodeEvent(&e)
		require.NoError(t, err)
		got, err := broker.DecodeEvent(encoded)
		require.NoError(t, err)
		require.Equal(t, e, got)
	})
}

func TestBatchesSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		batch := broker.StatusBatch{
			Events:  orNil(t, "events", rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 20), 1, 5)),
			Markers: orNil(t, "markers", rapid.SliceOfN(rapid.String(), 1, 5)),
		}
		encoded, err := batch.Encode()
		require.NoError(t, err)
		got, err := broker.DecodeStatusBatch(encoded)
		require.NoError(t, err)
		require.Equal(t, batch, got)
	})
}

func TestCutFailuresAreShortAndKeepTheirCode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := *drawFailure(t)
		f.Message = strings.Repeat(f.Message, rapid.IntRange(0, 2000).Draw(t, "times"))
		f.Stack = strings.Repeat(f.Stack, rapid.IntRange(0, 2000).Draw(t, "stack times"))
		encoded, err := broker.EncodeFailure(&f)
		require.NoError(t, err)
		require.LessOrEqual(t, len(encoded), broker.MaxFailureAnnotation)
	})
}

func TestEventsThatCannotBeApplied(t *testing.T) {
	t.Parallel()
	valid := func() *brokerv1.StatusEvent {
		return &brokerv1.StatusEvent{
			TaskId: "018f2d3c-5a6b-7c8d-9e0f-112233445566", Type: "a.B.C", Copy: make([]byte, 16),
			Run: 1, Attempt: 1, Delivery: 1, Phase: brokerv1.Phase_PHASE_STARTED,
		}
	}
	for what, spoil := range map[string]func(*brokerv1.StatusEvent){
		"no task id":         func(m *brokerv1.StatusEvent) { m.TaskId = "" },
		"a task id":          func(m *brokerv1.StatusEvent) { m.TaskId = "7" },
		"no type":            func(m *brokerv1.StatusEvent) { m.Type = "" },
		"no copy":            func(m *brokerv1.StatusEvent) { m.Copy = nil },
		"a short copy":       func(m *brokerv1.StatusEvent) { m.Copy = m.Copy[1:] },
		"run 0":              func(m *brokerv1.StatusEvent) { m.Run = 0 },
		"negative attempt":   func(m *brokerv1.StatusEvent) { m.Attempt = -1 },
		"negative delivery":  func(m *brokerv1.StatusEvent) { m.Delivery = -1 },
		"negative sequence":  func(m *brokerv1.StatusEvent) { m.Sequence = -1 },
		"no phase":           func(m *brokerv1.StatusEvent) { m.Phase = 0 },
		"a phase of later":   func(m *brokerv1.StatusEvent) { m.Phase = 99 },
		"no schedule time":   func(m *brokerv1.StatusEvent) { m.Phase, m.Head = brokerv1.Phase_PHASE_SCHEDULED, &brokerv1.TaskHead{} },
		"no update's head":   func(m *brokerv1.StatusEvent) { m.Phase, m.Sequence = brokerv1.Phase_PHASE_UPDATED, 1 },
		"no update's place":  func(m *brokerv1.StatusEvent) { m.Phase, m.Head = brokerv1.Phase_PHASE_UPDATED, &brokerv1.TaskHead{} },
		"no progress":        func(m *brokerv1.StatusEvent) { m.Phase = brokerv1.Phase_PHASE_PROGRESS },
		"a payload too late": func(m *brokerv1.StatusEvent) { m.Payload = &brokerv1.StatusPayload{} },
	} {
		m := valid()
		encoded, err := proto.Marshal(m)
		require.NoError(t, err)
		_, err = broker.DecodeEvent(encoded)
		require.NoError(t, err)
		spoil(m)
		encoded, err = proto.Marshal(m)
		require.NoError(t, err)
		_, err = broker.DecodeEvent(encoded)
		assert.Error(t, err, what)
	}
	for _, garbage := range [][]byte{nil, {0xff}, []byte("hello")} {
		_, err := broker.DecodeEvent(garbage)
		assert.Error(t, err)
	}
}

// An event of a later version is read for what this one knows of it.
func TestEventsOfALaterVersion(t *testing.T) {
	t.Parallel()
	e := task.Event{
		TaskID: "018f2d3c-5a6b-7c8d-9e0f-112233445566", Type: "a.B.C", Time: time.Unix(1, 2).UTC(),
		Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseStarted},
	}
	encoded, err := broker.EncodeEvent(&e)
	require.NoError(t, err)
	// Field 1000, length-delimited.
	got, err := broker.DecodeEvent(append(encoded, 0xc2, 0x3e, 0x01, 'x'))
	require.NoError(t, err)
	assert.Equal(t, e, got)
}

func TestPhasesAreThoseOfTheWire(t *testing.T) {
	t.Parallel()
	for phase, wire := range map[task.Phase]brokerv1.Phase{
		task.PhaseQueued: brokerv1.Phase_PHASE_QUEUED, task.PhaseStarted: brokerv1.Phase_PHASE_STARTED,
		task.PhaseMessage: brokerv1.Phase_PHASE_MESSAGE, task.PhaseReleased: brokerv1.Phase_PHASE_RELEASED,
		task.PhaseLost: brokerv1.Phase_PHASE_LOST, task.PhaseDeadLettered: brokerv1.Phase_PHASE_DEAD_LETTERED,
		task.PhaseCancelled: brokerv1.Phase_PHASE_CANCELLED, task.PhaseSucceeded: brokerv1.Phase_PHASE_SUCCEEDED,
		task.PhaseProgress: brokerv1.Phase_PHASE_PROGRESS, task.PhaseRetrying: brokerv1.Phase_PHASE_RETRYING,
		task.PhaseScheduled: brokerv1.Phase_PHASE_SCHEDULED, task.PhaseUpdated: brokerv1.Phase_PHASE_UPDATED,
	} {
		assert.EqualValues(t, wire, phase)
	}
	assert.Len(t, phases, len(brokerv1.Phase_name)-1)
}

var phases = []task.Phase{
	task.PhaseQueued, task.PhaseStarted, task.PhaseMessage, task.PhaseRetrying, task.PhaseReleased, task.PhaseLost,
	task.PhaseDeadLettered, task.PhaseCancelled, task.PhaseSucceeded, task.PhaseProgress,
	task.PhaseScheduled, task.PhaseUpdated,
}

// drawEvent draws an event that can be applied.
func drawEvent(t *rapid.T) task.Event {
	e := task.Event{
		TaskID: task.NewID(),
		Type:   rapid.StringN(1, 40, -1).Draw(t, "type"),
		Key: task.Key{
			Run: rapid.IntRange(1, 1<<31-1).Draw(t, "run"), Attempt: rapid.IntRange(1, 1<<31-1).Draw(t, "attempt"),
			Delivery: rapid.Int64Min(0).Draw(t, "delivery"), Phase: rapid.SampledFrom(phases).Draw(t, "phase"),
			Sequence: rapid.Int64Min(0).Draw(t, "sequence"), Copy: task.NewCopy(),
		},
		Time:     drawTime(t),
		WorkerID: rapid.String().Draw(t, "worker"),
		Message:  drawBytes(t, "message"),
		Cause:    task.Cause(rapid.IntRange(0, 20).Draw(t, "cause")),
	}
	if rapid.Bool().Draw(t, "has failure") {
		e.Failure = drawFailure(t)
	}
	switch e.Key.Phase {
	case task.PhaseScheduled:
		e.ScheduleTime = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "schedule time"), 0).UTC()
	case task.PhaseUpdated:
		e.Key.Sequence, e.ScheduleTime = rapid.Int64Min(1).Draw(t, "update"), drawTime(t)
	}
	if e.Key.Phase == task.PhaseCancelled || e.Key.Phase == task.PhaseUpdated {
		e.Reason = rapid.String().Draw(t, "reason")
	}
	if e.Key.Phase == task.PhaseScheduled || e.Key.Phase == task.PhaseUpdated || rapid.Bool().Draw(t, "has head") {
		trace := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace")
		e.Head = &task.Head{
			CreateTime: drawTime(t), Priority: rapid.IntRange(1, 9).Draw(t, "priority"),
			Labels: orNil(t, "labels", rapid.MapOfN(rapid.String(), rapid.String(), 1, 5)), TraceID: hex.EncodeToString(trace),
			ExpireTime: drawTime(t), ScheduleID: rapid.String().Draw(t, "schedule"),
		}
	}
	if e.Key.Phase == task.PhaseQueued || e.Key.Phase == task.PhaseScheduled {
		e.Payload = &task.Payload{
			Bytes: drawBytes(t, "payload"), Size: rapid.Int64Min(0).Draw(t, "size"),
			SHA256: drawBytes(t, "digest"), Omitted: rapid.Bool().Draw(t, "omitted"),
		}
	}
	if rapid.Bool().Draw(t, "has execution") {
		e.Execution = &task.Execution{
			Host: rapid.String().Draw(t, "host"), Version: rapid.String().Draw(t, "version"),
			Redelivered: rapid.Bool().Draw(t, "redelivered"), Alone: rapid.Bool().Draw(t, "alone"),
		}
		copy(e.Execution.Span.TraceID[:], rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "trace id"))
		copy(e.Execution.Span.SpanID[:], rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "span id"))
	}
	if e.Key.Phase == task.PhaseRetrying {
		e.NextAttempt = rapid.IntRange(e.Key.Attempt, 1<<31-1).Draw(t, "next attempt")
		e.NextAttemptTime = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "next time"), 0).UTC()
		e.Decision = rapid.String().Draw(t, "decision")
	}
	if rapid.Bool().Draw(t, "has metadata") {
		e.Headers, e.Trailers = drawMetadata(t, "headers"), drawMetadata(t, "trailers")
	}
	if e.Key.Phase == task.PhaseProgress {
		e.Progress = &task.ProgressReport{
			Fraction: rapid.OneOf(rapid.Just(-1.0), rapid.Float64Range(0, 1)).Draw(t, "fraction"),
			Message:  rapid.String().Draw(t, "progress"), Time: drawTime(t),
		}
	}
	return e
}

// drawMetadata draws values of any bytes, as those of -bin keys are.
func drawMetadata(t *rapid.T, label string) task.Metadata {
	value := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) })
	return task.Metadata(orNil(t, label, rapid.MapOfN(rapid.StringMatching(`[a-z0-9._-]{1,20}`), rapid.SliceOfN(value, 1, 3), 1, 4)))
}

func drawFailure(t *rapid.T) *task.Failure {
	f := &task.Failure{
		Code: int(rapid.Int32().Draw(t, "code")), Message: rapid.String().Draw(t, "failure"), Stack: rapid.String().Draw(t, "stack"),
		Kind: task.FailureKind(rapid.IntRange(0, 9).Draw(t, "kind")),
	}
	for range rapid.IntRange(0, 3).Draw(t, "details") {
		f.Details = append(f.Details, task.Detail{TypeURL: rapid.String().Draw(t, "type URL"), Value: drawBytes(t, "detail")})
	}
	return f
}

func drawTime(t *rapid.T) time.Time {
	if rapid.Bool().Draw(t, "no time") {
		return time.Time{}
	}
	// From the year 1 to 9999, as protobuf has it.
	return time.Unix(rapid.Int64Range(-62_135_596_800, 253_402_300_799).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
}

func drawBytes(t *rapid.T, label string) []byte {
	return orNil(t, label, rapid.SliceOfN(rapid.Byte(), 1, 40))
}

// orNil is nil at times: the wire does not tell empty from absent.
func orNil[T any](t *rapid.T, label string, g *rapid.Generator[T]) T {
	var none T
	return rapid.OneOf(rapid.Just(none), g).Draw(t, label)
}

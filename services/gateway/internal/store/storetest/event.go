package storetest

import (
	"context"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	taskType  = "demo.v1.ImageService.Thumbnail"
	otherType = "demo.v1.ImageService.Transcode"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)

// at is the time of an event, so many seconds after the first.
func at(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }

// spanOf is where the execution of a key is in a trace: that of its run, which only
// some deliveries were sampled in.
func spanOf(k task.Key) (s task.Span) {
	s.TraceID[15] = byte(k.Run)
	if k.Delivery > 1 {
		s.SpanID[7] = byte(k.Delivery)
	}
	return s
}

// event makes the event of a task that has a key; all else follows from that.
func event(id string, k task.Key) task.Event {
	if k.Copy == (task.Copy{}) {
		k.Copy = task.Copy{1}
	}
	e := task.Event{
		TaskID: id, Type: taskType, Key: k, WorkerID: "w-1",
		Time: at(k.Run*10_000 + k.Attempt*1000 + int(k.Delivery)*100 + int(k.Phase) + int(k.Sequence)),
	}
	switch k.Phase {
	case task.PhaseQueued, task.PhaseScheduled:
		body := []byte{'p', byte(k.Run)}
		hash := sha256.Sum256(body)
		e.WorkerID = ""
		e.Head = &task.Head{
			CreateTime: epoch, Priority: task.PriorityHigh,
			Labels: map[string]string{"customer": "acme", "größe": "<&>"}, TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
			ExpireTime: epoch.Add(time.Hour),
		}
		e.Payload = &task.Payload{Bytes: body, Size: int64(len(body)), SHA256: hash[:]}
		if k.Phase == task.PhaseScheduled {
			e.Head.ScheduleID, e.ScheduleTime = "nightly <&> ü", at(20_000)
		}
	case task.PhaseUpdated:
		e.WorkerID, e.Reason = "", "sooner: \x00 <&> ü"
		e.Head = updatedHead(k.Sequence)
		if k.Sequence%2 == 1 {
			e.ScheduleTime = at(20_000 + int(k.Sequence))
		}
	case task.PhaseCancelled:
		e.Reason = "not wanted: \x00 <&> ü"
		if k.Delivery%2 == 1 {
			e.Failure = &task.Failure{Code: 1, Message: "stopped"}
		}
	case task.PhaseStarted:
		e.Execution = &task.Execution{Host: "host-1", Version: "v1", Redelivered: k.Delivery > 1, Alone: k.Delivery > 2, Span: spanOf(k)}
	case task.PhaseMessage:
		e.Message = []byte{'m', byte(k.Sequence)}
	case task.PhaseSucceeded:
		e.Message = []byte{'r', byte(k.Delivery)}
		if k.Delivery%2 == 1 {
			e.Headers = task.Metadata{"x-served-by": {"a", "", "<&> ü"}, "x-raw-bin": {"\x00\xff"}}
		}
	case task.PhaseRetrying:
		e.NextAttempt, e.NextAttemptTime = k.Attempt, e.Time.Add(time.Minute)
		e.Decision = "asked for: \x00 <&> ü"
		if k.Delivery%2 == 1 {
			e.NextAttempt++
			e.Failure = &task.Failure{Code: 14, Message: "away", Stack: "goroutine 2", Kind: task.KindPanic}
			e.Headers, e.Trailers = task.Metadata{"x-try": {"1"}}, task.Metadata{"x-try": {"2"}}
		}
	case task.PhaseDeadLettered:
		e.Cause, e.Decision = task.CausePermanentFailure, "INTERNAL is permanent"
		e.Trailers = task.Metadata{"x-detail": {"no utf-8: \xff"}}
		e.Failure = &task.Failure{
			Code: 13, Kind: task.KindTimeout, Message: "broken: \x00 <&> ü", Stack: "goroutine 1",
			Details: []task.Detail{{TypeURL: "type.googleapis.com/a.B", Value: []byte{0, 255}}, {TypeURL: "c"}},
		}
	case task.PhaseProgress:
		e.Progress = &task.ProgressReport{Fraction: float64(k.Sequence) / 8, Message: "half way", Time: e.Time}
	}
	return e
}

// updatedHead is what holds after a task's update of a sequence.
func updatedHead(sequence int64) *task.Head {
	h := &task.Head{
		CreateTime: epoch, Priority: int(sequence), TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", ScheduleID: "nightly <&> ü",
	}
	if sequence%2 == 1 {
		h.Labels, h.ExpireTime = map[string]string{"größe": "<&> \x00"}, at(int(sequence))
	}
	return h
}

func queued(id string) task.Event {
	return event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued})
}

// delivered makes an event of the first delivery of run 1.
func delivered(id string, phase task.Phase) task.Event {
	return event(id, task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: phase})
}

func started(id string) task.Event   { return delivered(id, task.PhaseStarted) }
func succeeded(id string) task.Event { return delivered(id, task.PhaseSucceeded) }

// numbered makes a MESSAGE or PROGRESS event of that delivery.
func numbered(id string, phase task.Phase, sequence int64) task.Event {
	return event(id, task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: phase, Sequence: sequence})
}

// inRun makes an event the one of another run.
func inRun(run int, e task.Event) task.Event {
	k := e.Key
	k.Run = run
	return event(e.TaskID, k)
}

// test is a test, or a check of a property.
type test interface {
	require.TestingT
	Helper()
	Context() context.Context
}

// apply returns the changes as Bare leaves them.
func apply(t test, s store.Store, events ...task.Event) []store.Change {
	t.Helper()
	return Bare(applyAll(t, s, events...)...)
}

// applyAll returns all of the changes.
func applyAll(t test, s store.Store, events ...task.Event) []store.Change {
	t.Helper()
	changes, err := s.Apply(t.Context(), events)
	require.NoError(t, err)
	return changes
}

// Bare leaves out of changes what they count, and what has decided the state: those have
// tests of their own, and the model has all of it.
func Bare(changes ...store.Change) []store.Change {
	bare := slices.Clone(changes)
	for i := range bare {
		bare[i].Type, bare[i].News, bare[i].Decided = "", store.News{}, task.Key{}
	}
	return bare
}

func get(t *testing.T, s store.Store, id string) task.Task {
	t.Helper()
	got, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	return got
}

// all returns the events of a task with their bodies.
func all(t *testing.T, s store.Store, id string) []task.NumberedEvent {
	t.Helper()
	events, err := s.Events(t.Context(), id, 0, store.MaxEvents, true)
	require.NoError(t, err)
	return events
}

func numbers(events []task.NumberedEvent) []int64 {
	var n []int64
	for _, e := range events {
		n = append(n, e.Number)
	}
	return n
}

func requireGone(t *testing.T, s store.Store, id string) {
	t.Helper()
	_, err := s.Task(t.Context(), id)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.Events(t.Context(), id, 0, 10, true)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.History(t.Context(), id)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.Body(t.Context(), id, 1)
	require.ErrorIs(t, err, store.ErrNotFound)
}

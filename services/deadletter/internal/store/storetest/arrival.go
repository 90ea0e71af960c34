package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const taskType = "demo.v1.ImageService.Thumbnail"

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)

// at is so many seconds after the epoch.
func at(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }

// arrival makes the death of a task's run, in the shape in which it is kept.
func arrival(id string, run int) store.Arrival {
	failure := &task.Failure{
		Code: 13, Message: fmt.Sprintf("run %d is broken: <&> ü", run), Stack: "goroutine 1", Kind: task.KindPanic,
		Details: []task.Detail{{TypeURL: "type.googleapis.com/a.B", Value: []byte{0, 255}}, {TypeURL: "c"}},
	}
	return store.Arrival{
		ID: id, Type: taskType,
		Occurrence: store.Occurrence{
			Run: run, Attempt: 2, Cause: task.CauseAttemptsExhausted, Failure: failure, Reason: fmt.Sprintf("BROKEN_%d", run),
			Decision: fmt.Sprintf("run %d: attempt 2 of 2", run), DeadTime: at(run), WorkerID: fmt.Sprintf("w-%d", run),
			TraceID: fmt.Sprintf("%032x", run), BrokerReason: "rejected", AttemptsOmitted: 1,
			Attempts: []task.Record{{
				Key:      task.Key{Run: run, Attempt: 2, Delivery: 3, Phase: task.PhaseStarted, Sequence: 4, Copy: task.Copy{byte(run)}},
				WorkerID: "w-1", Execution: task.Execution{Host: "host-1", Version: "v1", Redelivered: true, Alone: true, Span: task.Span{TraceID: [16]byte{15: byte(run)}, SpanID: [8]byte{7: 2}}},
				StartTime: at(run), EndTime: at(run + 1), Outcome: task.OutcomePanicked, Failure: failure,
				Decision: "next in 3.4 s", NextAttemptTime: at(run + 2), Extra: true,
			}, {Key: task.Key{Run: run, Attempt: 1}}},
		},
		Labels:   map[string]string{"customer": "acme", "größe": "<&>", "run": fmt.Sprint(run)},
		Priority: task.PriorityHigh, CreateTime: epoch, RunTime: at(run),
		Message: store.Message{
			Body:       []byte{'p', 0, byte(run)},
			Properties: map[string]string{"message-id": id}, Headers: map[string]string{"x-a": `{"b":1}`},
			Queue: "warren.work." + taskType, Exchange: "warren.tasks", RoutingKeys: []string{taskType, ""},
		},
		Template: []byte{'t', byte(run)},
	}
}

// foreign makes a message that is no task, of which next to nothing is known.
func foreign(id string) store.Arrival {
	return store.Arrival{
		ID: id, Foreign: true, Type: "some.key",
		Occurrence: store.Occurrence{Cause: task.CauseUndecodable, DeadTime: epoch},
		Message:    store.Message{Body: []byte("garbage"), Queue: "warren.status"},
	}
}

// whole is the full dead letter that arrivals of one id make, in their order,
// but for what the store numbers and dates.
func whole(state store.State, arrivals ...store.Arrival) store.DeadLetter {
	first := arrivals[0]
	d := store.DeadLetter{ID: first.ID, Foreign: first.Foreign, State: state, FirstDeadTime: first.Occurrence.DeadTime, Revision: 1}
	runs := map[int]store.Occurrence{}
	highest := 0
	for i := range arrivals {
		a := &arrivals[i]
		o := a.Occurrence
		if _, ok := runs[o.Run]; ok {
			continue
		}
		runs[o.Run] = o
		if o.DeadTime.Before(d.FirstDeadTime) {
			d.FirstDeadTime = o.DeadTime
		}
		if i == 0 || o.Run > highest {
			highest = o.Run
			show(&d, a)
		}
	}
	d.OccurrenceCount = len(runs)
	for run := range highest + 1 {
		if o, ok := runs[run]; ok {
			d.Occurrences = append(d.Occurrences, o)
		}
	}
	return d
}

func show(d *store.DeadLetter, a *store.Arrival) {
	o := a.Occurrence
	d.Type, d.Cause, d.Failure, d.Reason, d.Decision = a.Type, o.Cause, o.Failure, o.Reason, o.Decision
	d.Run, d.Attempt, d.WorkerID, d.TraceID, d.DeadTime = o.Run, o.Attempt, o.WorkerID, o.TraceID, o.DeadTime
	d.Labels, d.Priority, d.CreateTime, d.RunTime = a.Labels, a.Priority, a.CreateTime, a.RunTime
	d.Queue, d.PayloadSize = a.Message.Queue, int64(len(a.Message.Body))
	m := a.Message
	if d.Message != nil && d.FirstTemplate == nil {
		d.FirstTemplate = d.Template
	}
	d.Message, d.Template = &m, a.Template
}

// basic is what is left of a full dead letter when full was not asked for.
func basic(d store.DeadLetter) store.DeadLetter {
	d.Occurrences, d.Message, d.Template, d.FirstTemplate, d.Revisions = nil, nil, nil, nil, nil
	if d.Failure != nil {
		f := *d.Failure
		f.Details = nil
		d.Failure = &f
	}
	return d
}

// test is what both testing and rapid have.
type test interface {
	require.TestingT
	Helper()
	Context() context.Context
}

func put(t test, s store.Store, arrivals ...store.Arrival) []store.Change {
	t.Helper()
	changes, err := s.Put(t.Context(), arrivals)
	require.NoError(t, err)
	require.Len(t, changes, len(arrivals))
	return changes
}

func get(t test, s store.Store, id string) store.DeadLetter {
	t.Helper()
	d, err := s.Get(t.Context(), id, true)
	require.NoError(t, err)
	short, err := s.Get(t.Context(), id, false)
	require.NoError(t, err)
	require.Equal(t, basic(d), short)
	return d
}

// requireSame compares a dead letter with whole's answer.
func requireSame(t test, want, got store.DeadLetter) {
	t.Helper()
	require.NotEmpty(t, got.Etag)
	require.NotZero(t, got.Sequence)
	require.NotZero(t, got.Change)
	require.False(t, got.UpdateTime.IsZero())
	want.Etag, want.Sequence, want.Change, want.UpdateTime = got.Etag, got.Sequence, got.Change, got.UpdateTime
	want.OperatorReason, want.ReplayCount = got.OperatorReason, got.ReplayCount
	require.Equal(t, want, got)
}

func requireGone(t test, s store.Store, id string) {
	t.Helper()
	_, err := s.Get(t.Context(), id, true)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NotErrorIs(t, err, store.ErrUnavailable)
}

func replay(t test, s store.Store, id string, run int) (store.DeadLetter, store.Intent) {
	t.Helper()
	d, i, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: run, By: store.Call{Reason: "mended", Trace: "00-a-b-01"}})
	require.NoError(t, err)
	return d, i
}

func discard(t test, s store.Store, id string) store.DeadLetter {
	t.Helper()
	d, err := s.Discard(t.Context(), store.DiscardRequest{ID: id, By: store.Call{Reason: "hopeless"}})
	require.NoError(t, err)
	return d
}

func resolveNow(t test, s store.Store, id string) store.DeadLetter {
	t.Helper()
	d, err := s.ResolveNow(t.Context(), store.ResolveRequest{ID: id, Reason: "the task has SUCCEEDED"})
	require.NoError(t, err)
	return d
}

// list reads all pages of a query.
func list(t test, s store.Store, q store.Query) []store.DeadLetter {
	t.Helper()
	var all []store.DeadLetter
	for {
		page, err := s.List(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page.DeadLetters...)
		if !page.More {
			return all
		}
		require.NotEmpty(t, page.DeadLetters)
		q.After = all[len(all)-1].Sequence
	}
}

func ids(all []store.DeadLetter) []string {
	found := make([]string, len(all))
	for i := range all {
		found[i] = all[i].ID
	}
	return found
}

func parse(t test, text string) filter.Expr {
	t.Helper()
	e, err := store.Fields.Parse(text)
	require.NoError(t, err, text)
	return e
}

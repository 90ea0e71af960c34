package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/filter/filtertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// queuePrefix is that of all queries here.
const queuePrefix = "warren.work."

// parse reads a filter that is one.
func parse(t require.TestingT, text string) filter.Expr {
	f, err := store.Fields.Parse(text)
	require.NoError(t, err, text)
	return f
}

// holds says whether a filter holds for a task in a state: what engines must
// select.
func holds(f filter.Expr, t *task.Task, history []task.NumberedEvent, state task.State) bool {
	code := int64(0)
	if t.Failure != nil {
		code = int64(t.Failure.Code)
	}
	workers, traces, codes := attempts(history)
	return filtertest.Holds(f, filtertest.Subject{
		Texts: map[filter.Field][]string{
			store.FieldTaskID: {t.ID}, store.FieldType: {t.Type}, store.FieldQueue: {queuePrefix + t.Type}, store.FieldTraceID: {t.TraceID},
			store.FieldScheduleID:      {t.ScheduleID},
			store.FieldAttemptWorkerID: workers, store.FieldAttemptTraceID: traces,
		},
		Numbers: map[filter.Field][]int64{
			store.FieldState: {int64(state)}, store.FieldCause: {int64(t.Cause)}, store.FieldCode: {code}, store.FieldRun: {int64(t.Run)},
			store.FieldAttempt: {int64(t.Attempt)}, store.FieldPriority: {int64(t.Priority)}, store.FieldAttemptCode: codes,
		},
		Times: map[filter.Field]time.Time{
			store.FieldCreateTime: t.CreateTime, store.FieldStartTime: t.StartTime, store.FieldEndTime: t.EndTime,
			store.FieldUpdateTime: t.UpdateTime, store.FieldExpireTime: t.ExpireTime, store.FieldNextAttemptTime: t.NextAttemptTime,
			store.FieldScheduleTime: t.ScheduleTime,
		},
		Labels: t.Labels,
	})
}

// attempts are the workers that started one, the traces that one belongs to, and the
// codes of the failures that a started one ended with.
func attempts(history []task.NumberedEvent) (workers, traces []string, codes []int64) {
	begun := map[task.Key]bool{}
	for _, e := range history {
		if e.Key.Phase == task.PhaseStarted {
			workers = append(workers, e.WorkerID)
			trace := ""
			if e.Execution != nil {
				trace = e.Execution.Span.Trace()
			}
			traces = append(traces, trace)
			begun[deliveryOf(e.Key)] = true
		}
	}
	for _, e := range history {
		if p := e.Key.Phase; (p == task.PhaseRetrying || p == task.PhaseDeadLettered) && e.Failure != nil && begun[deliveryOf(e.Key)] {
			codes = append(codes, int64(e.Failure.Code))
		}
	}
	return workers, traces, codes
}

func deliveryOf(k task.Key) task.Key {
	k.Phase, k.Sequence = 0, 0
	return k
}

// list reads all pages of a query.
func list(t test, s store.Store, q store.Query) []string {
	t.Helper()
	q.QueuePrefix = queuePrefix
	found := []string{}
	for {
		page, err := s.List(t.Context(), q)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Tasks), max(q.Limit, 1))
		for _, one := range page.Tasks {
			found = append(found, one.ID)
		}
		if q.Before = page.Next; page.Next == "" {
			return found
		}
	}
}

// filtered lists what a filter selects.
func filtered(t test, s store.Store, text string) []string {
	t.Helper()
	return list(t, s, store.Query{Filter: parse(t, text), Limit: 100, Time: time.Minute})
}

// newestFirst sorts ids as List does.
func newestFirst(ids ...string) []string {
	sorted := append([]string{}, ids...)
	slices.Sort(sorted)
	slices.Reverse(sorted)
	return sorted
}

// newIDs makes ids, each newer than those before.
func newIDs(t *testing.T, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = task.NewID()
	}
	slices.Sort(ids)
	return ids
}

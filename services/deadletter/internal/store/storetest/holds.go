package storetest

import (
	"cmp"
	"slices"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/filter"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// holds says whether a filter holds for a dead letter: what engines must select.
func holds(f filter.Expr, d *store.DeadLetter) bool {
	term := func(f filter.Expr) bool { return holds(f, d) }
	switch f := f.(type) {
	case filter.And:
		return !slices.ContainsFunc(f.Terms, func(f filter.Expr) bool { return !term(f) })
	case filter.Or:
		return slices.ContainsFunc(f.Terms, term)
	case filter.Not:
		return !term(f.Term)
	case filter.Text:
		return f.Match.Holds(texts(d)[f.Field])
	case filter.Label:
		value, ok := d.Labels[f.Key]
		return ok && (f.Match.Kind == filter.MatchPresent || f.Match.Holds(value))
	case filter.Enum:
		return numbers(d)[f.Field] == int64(f.Value)
	case filter.Number:
		return ordered(f.Order, cmp.Compare(numbers(d)[f.Field], f.Value))
	case filter.Time:
		t := times(d)[f.Field]
		return !t.IsZero() && ordered(f.Order, t.Compare(f.Value))
	}
	return true
}

func ordered(o filter.Order, compared int) bool {
	switch o {
	case filter.Equal:
		return compared == 0
	case filter.Less:
		return compared < 0
	case filter.LessOrEqual:
		return compared <= 0
	case filter.Greater:
		return compared > 0
	case filter.GreaterOrEqual:
		return compared >= 0
	}
	return false
}

func texts(d *store.DeadLetter) map[filter.Field]string {
	all := map[filter.Field]string{
		filter.FieldType: d.Type, filter.FieldReason: d.Reason, filter.FieldWorkerID: d.WorkerID,
		filter.FieldTraceID: d.TraceID, filter.FieldTaskID: d.TaskID(),
	}
	if d.Failure != nil {
		all[filter.FieldMessage] = d.Failure.Message
	}
	return all
}

func numbers(d *store.DeadLetter) map[filter.Field]int64 {
	all := map[filter.Field]int64{
		filter.FieldState: int64(d.State), filter.FieldCause: int64(d.Cause), filter.FieldRun: int64(d.Run),
		filter.FieldAttempt: int64(d.Attempt), filter.FieldOccurrenceCount: int64(d.OccurrenceCount),
	}
	if d.Failure != nil {
		all[filter.FieldCode] = int64(d.Failure.Code)
	}
	return all
}

func times(d *store.DeadLetter) map[filter.Field]time.Time {
	return map[filter.Field]time.Time{
		filter.FieldCreateTime: d.CreateTime, filter.FieldDeadTime: d.DeadTime, filter.FieldUpdateTime: d.UpdateTime,
	}
}

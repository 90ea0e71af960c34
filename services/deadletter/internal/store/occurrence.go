package store

import (
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

func (o Occurrence) normalize(now time.Time) Occurrence {
	o.Failure = cleanFailure(o.Failure)
	o.Reason, o.Decision, o.WorkerID = cleanText(o.Reason), cleanText(o.Decision), cleanText(o.WorkerID)
	o.TraceID, o.BrokerReason = cleanText(o.TraceID), cleanText(o.BrokerReason)
	if o.DeadTime = cleanTime(o.DeadTime); o.DeadTime.IsZero() {
		o.DeadTime = cleanTime(now)
	}
	o.Attempts = orNil(slices.Clone(o.Attempts))
	for i := range o.Attempts {
		r := &o.Attempts[i]
		r.Failure = cleanFailure(r.Failure)
		r.WorkerID, r.Host, r.Version, r.Decision = cleanText(r.WorkerID), cleanText(r.Host), cleanText(r.Version), cleanText(r.Decision)
		r.StartTime, r.EndTime, r.NextAttemptTime = cleanTime(r.StartTime), cleanTime(r.EndTime), cleanTime(r.NextAttemptTime)
	}
	return o
}

func cleanFailure(f *task.Failure) *task.Failure {
	if f == nil {
		return nil
	}
	clean := *f
	clean.Message, clean.Stack = cleanText(f.Message), cleanText(f.Stack)
	clean.Details = orNil(slices.Clone(f.Details))
	for i := range clean.Details {
		d := &clean.Details[i]
		d.TypeURL, d.Value = cleanText(d.TypeURL), orNil(d.Value)
	}
	return &clean
}

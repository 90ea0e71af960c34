package task

import (
	"context"
	"errors"
	"math"
)

// ErrCancelled is in the cause with which a handler's context ends when its task is
// cancelled, whose text has the reason as well:
//
//	if errors.Is(context.Cause(ctx), task.ErrCancelled) { … }
//
// A handler that returns an error then ends its task as CANCELLED, without another
// attempt; one that answers all the same ends it as SUCCEEDED.
var ErrCancelled = errors.New("CANCELLED: the task was cancelled")

// Info is what a handler may know of the task it carries out.
type Info struct {
	// ID is the task's, the same in all runs and attempts: the natural
	// idempotency key for what the handler does elsewhere.
	ID string
	// Type is the task type.
	Type string
	// Run and Attempt count from 1.
	Run, Attempt int
	// Redelivered: this attempt may have been started before.
	Redelivered bool
	Labels      map[string]string
}

// Reporter takes in what a handler says of its progress. It must not block.
type Reporter func(ProgressReport)

type contextKey struct{}

type contextValue struct {
	info   Info
	report Reporter
}

// NewContext gives a handler's context the task it carries out. It is for
// those who run handlers: workers, and tests of handlers.
func NewContext(ctx context.Context, info Info, report Reporter) context.Context {
	return context.WithValue(ctx, contextKey{}, contextValue{info, report})
}

// FromContext says which task a handler carries out; false when it was called
// by something else than a worker.
func FromContext(ctx context.Context) (Info, bool) {
	v, ok := ctx.Value(contextKey{}).(contextValue)
	return v.info, ok
}

// Progress tells watchers how far the handler has come: fraction is from
// 0 to 1, or negative when it can't be told. It never blocks and may be called
// often: only the latest is kept. Outside a worker it does nothing.
func Progress(ctx context.Context, fraction float64, message string) {
	if v, ok := ctx.Value(contextKey{}).(contextValue); ok && v.report != nil {
		if math.IsNaN(fraction) {
			fraction = -1
		}
		v.report(ProgressReport{Fraction: min(fraction, 1), Message: message})
	}
}

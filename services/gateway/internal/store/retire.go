package store

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// Retirer forgets task types. Errors of all methods besides those named:
// ErrUnavailable, the context's.
type Retirer interface {
	// RetireType forgets a task type, in one transaction: no bundle defines the names
	// in Forget any more, and its override is one of nothing, with the next version and
	// the time and reason of the retirement, unless it never had one. The retirement is
	// kept until a bundle is put that defines r.Method. Repeating it changes nothing.
	// Errors: ErrChanged if the override in force has another version than r.Version;
	// ErrInUse if a message is kept of a task of the type that is for later.
	RetireType(ctx context.Context, r Retirement) error

	// Retirements returns the task types that are retired now, by name.
	Retirements(ctx context.Context) ([]Retirement, error)

	// CountUnended counts the tasks of a type by their states, but for those that
	// SUCCEEDED or were CANCELLED. States of which there is none are left out.
	CountUnended(ctx context.Context, taskType string) (map[task.State]int64, error)
}

// Retirement is a task type that was retired, and what is needed to show what is kept
// of its tasks.
type Retirement struct {
	TaskType string
	// Method is the name by which bundles define it, one of Forget.
	Method string
	// Forget are all the names that go with it. What Retirements returns does not have
	// them, nor Version.
	Forget []string
	// Version is that of the override in force, 0 for none.
	Version int64
	// Input and Output are the full names of its messages.
	Input, Output string
	// Reason is the operator's.
	Reason string
	// Time tells apart retirements of one task type.
	Time time.Time
}

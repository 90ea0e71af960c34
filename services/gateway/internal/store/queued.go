package store

import (
	"context"
	"time"
)

// Queues tell of the queues of task types. Errors of all methods: ErrUnavailable, the
// context's.
type Queues interface {
	// CountRetrying counts the tasks that wait for a retry, by task type.
	CountRetrying(ctx context.Context) (map[string]int64, error)

	// NextQueued is the first task of a type, by its id, that is QUEUED, and since
	// when: of the tasks with this id, empty for the first there is, or a greater one.
	// It looks at a few thousand. Of the answer, ID is empty if none of these is QUEUED,
	// and Next is where to go on then, empty at the end.
	//
	// With no type it tells of every type at once: Firsts has the first task of each
	// that is QUEUED among those looked at, ID is empty, and Next is where to go on.
	NextQueued(ctx context.Context, taskType, from string) (NextQueued, error)
}

// NextQueued is what [Queues.NextQueued] has found.
type NextQueued struct {
	ID    string
	Since time.Time
	Next  string
	// Firsts is by task type, nil when asked for one type.
	Firsts map[string]QueuedTask
}

// QueuedTask is a task that is QUEUED, and since when.
type QueuedTask struct {
	ID    string
	Since time.Time
}

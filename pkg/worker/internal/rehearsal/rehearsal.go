// Package rehearsal has the words in which package workertest asks a worker to run
// a handler without a broker. It is internal so that nobody else can.
package rehearsal

import (
	"context"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// Task is a task as it is delivered.
type Task struct {
	// Message is the task's; all that a gateway sets of one is to be set.
	Message broker.TaskMessage
	// Attempt is from 1.
	Attempt int
	// Redelivered: a delivery of this attempt was lost before.
	Redelivered bool
	// Ignored is how many executions of the run spent no attempt.
	Ignored int32
	// Options are in force for the type; nil is a type without options.
	Options *taskv1.TaskOptions
	// MaxResult bounds the result, in bytes; 0 is the worker's default.
	MaxResult int64
	// Cancelled, when it ends, is the cancellation of the task, for the reason; nil is
	// never.
	Cancelled context.Context //nolint:containedctx // it is a signal of the test's, for one call
	Reason    string
	// Drained, when it ends, ends the grace of a worker that drains; nil is never.
	Drained context.Context //nolint:containedctx // as above
}

// Outcome is what came of it.
type Outcome struct {
	// Event is what a worker reports of the end.
	Event task.Event
	// Messages are those of the response stream.
	Messages [][]byte
	// Progress is all that was reported, in order.
	Progress []task.ProgressReport
	// Begun says that the handler was called.
	Begun bool
	// Again is when the task comes back that is given back; zero is at once.
	Again time.Time
}

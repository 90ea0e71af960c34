package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// maxRunningTold is how many running tasks a heartbeat names.
const maxRunningTold = 200

// executions are those whose outcome is not on record yet. An execution is among
// them before it looks for the last time whether its run is cancelled: who says that
// it is finds it here, or is seen by it.
type executions struct {
	mu  sync.Mutex
	all map[*execution]*executing
}

// executing is what can be told of an execution, and done to it.
type executing struct {
	// stop ends what it does; nil if there is nothing to be ended.
	stop context.CancelCauseFunc
	// begun is when its handler was; zero if it was not.
	begun time.Time
	// cancelled says that its run was cancelled since it is here, for the reason.
	cancelled bool
	reason    string
}

func newExecutions() *executions { return &executions{all: map[*execution]*executing{}} }

func (e *executions) add(x *execution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all[x] = &executing{}
}

// remove takes out an execution whose outcome is on record, and says whether its
// handler was begun and its run is cancelled.
func (e *executions) remove(x *execution) (cancelled bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.all[x]
	delete(e.all, x)
	return s != nil && s.cancelled && !s.begun.IsZero()
}

// stopBy has stop called when the execution's run is cancelled; at once if it was.
// begun is when the handler is, zero if it is not yet.
func (e *executions) stopBy(x *execution, begun time.Time, stop context.CancelCauseFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.all[x]
	if s == nil {
		return
	}
	s.stop, s.begun = stop, begun
	if s.cancelled {
		stop(cancelledCause(s.reason))
	}
}

// cancel ends the executions of runs that are cancelled.
func (e *executions) cancel(c *cancellations) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for x, s := range e.all {
		if s.cancelled {
			continue
		}
		if s.reason, s.cancelled = c.of(x.key); s.cancelled && s.stop != nil {
			s.stop(cancelledCause(s.reason))
		}
	}
}

// of says whether the execution's run was cancelled since it is here, and why.
// What is known of cancellations may have been forgotten meanwhile.
func (e *executions) of(x *execution) (reason string, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.all[x]
	if s == nil {
		return "", false
	}
	return s.reason, s.cancelled
}

// told are the ids of tasks that are cancelled and may still run here, and the tasks
// that run, the oldest first.
func (e *executions) told(c *cancellations) (cancelling []string, running []*brokerv1.RunningTask) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for x, s := range e.all {
		if _, yes := c.of(x.key); yes || s.cancelled {
			cancelling = append(cancelling, x.msg.ID)
		}
		if !s.begun.IsZero() {
			running = append(running, &brokerv1.RunningTask{
				TaskId: x.msg.ID, Type: x.taskType, Run: int32(x.msg.Run), Attempt: int32(x.delivery.Attempt()), StartTime: timestamppb.New(s.begun),
			})
		}
	}
	slices.SortFunc(running, func(a, b *brokerv1.RunningTask) int { return a.StartTime.AsTime().Compare(b.StartTime.AsTime()) })
	return cancelling, running[:min(len(running), maxRunningTold)]
}

// cancelledCause is why the context of a handler ends whose task is cancelled.
func cancelledCause(reason string) error {
	if reason == "" {
		return task.ErrCancelled
	}
	return fmt.Errorf("%w: %s", task.ErrCancelled, reason)
}

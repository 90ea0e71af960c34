package calls

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// answerStream passes the messages of the task's response stream on as they come,
// those of one execution: with the first that is sent the answer is committed to it.
func (c *call) answerStream() error {
	for range 2 {
		var a streamAnswer
		err := c.handler.cfg.Tasks.Follow(c.stream.Context(), c.taskID, func(t *task.Task, e *task.NumberedEvent) (bool, error) {
			return a.see(c, t, &e.Event)
		})
		if err != nil || !a.again {
			return cmp.Or(err, a.end)
		}
	}
	return rpc.Internal(fmt.Errorf("the messages of task %s were left out though the execution that has succeeded was known", c.taskID))
}

// streamAnswer is how far the answer has come.
type streamAnswer struct {
	// committed is the execution of which a message was sent, last the key of the last one.
	committed *execution
	last      *task.Key
	end       error
	// skipped are the executions of which messages were left out, as it seemed that
	// they do not count; again says that one of them does, and nothing was sent.
	skipped []execution
	again   bool
}

// execution is one execution of a task, as keys of events tell it from others.
type execution struct {
	run, attempt int
	delivery     int64
	copy         task.Copy
}

func executionOf(k task.Key) execution {
	return execution{run: k.Run, attempt: k.Attempt, delivery: k.Delivery, copy: k.Copy}
}

// see takes the next event in, and says whether it is the last that the caller needs.
func (a *streamAnswer) see(c *call, t *task.Task, e *task.Event) (enough bool, err error) {
	x := executionOf(e.Key)
	switch e.Key.Phase {
	case task.PhaseMessage:
		return false, a.pass(c, t, e)
	case task.PhaseRetrying, task.PhaseReleased:
		if a.committed == nil || *a.committed != x || succeeded(t, x) {
			return false, nil
		}
		return true, c.executedAgain()
	case task.PhaseStarted:
		// That a worker was lost does not say that its execution has ended; another one
		// that begins does, unless it came too late.
		if a.committed == nil || *a.committed == x || !superseded(t, *a.last) || succeeded(t, *a.committed) {
			return false, nil
		}
		return true, c.executedAgain()
	case task.PhaseDeadLettered, task.PhaseCancelled, task.PhaseSucceeded:
		if e.Key.Run < t.Run || t.State.Terminal() && t.Decided != e.Key {
			return false, nil // another run has begun, or a correction follows
		}
		return true, a.conclude(c, x, e)
	}
	return false, nil
}

// conclude ends the answer with what ended the task.
func (a *streamAnswer) conclude(c *call, x execution, e *task.Event) error {
	switch {
	case e.Key.Phase != task.PhaseSucceeded:
		a.end = failed(e)
	case a.committed != nil && *a.committed != x:
		return c.executedAgain()
	case a.committed == nil && slices.Contains(a.skipped, x):
		// Its worker was given up too early. Now it is known whose messages count.
		a.again = true
		return nil
	}
	return c.setMetadata(e)
}

// pass sends a message, unless it is of an execution that is not the task's last one:
// the caller gets the messages of that.
func (a *streamAnswer) pass(c *call, t *task.Task, e *task.Event) error {
	x := executionOf(e.Key)
	switch {
	case a.committed != nil && *a.committed == x:
	case superseded(t, e.Key):
		if !slices.Contains(a.skipped, x) {
			a.skipped = append(a.skipped, x)
		}
		return nil
	case a.committed != nil:
		return c.executedAgain()
	}
	a.committed, a.last = &x, &e.Key
	if err := c.giveHeaders(e); err != nil {
		return err
	}
	return c.stream.SendMsg(&frame.Frame{Bytes: e.Message})
}

// giveHeaders has the header, which is sent with the first message, take the handler's
// headers along if it has waited for them.
func (c *call) giveHeaders(first *task.Event) error {
	if c.headers != headersHeld {
		return nil
	}
	c.headers = headersGiven
	return c.setHeader(metadata.MD(first.Headers))
}

// superseded says whether another execution than the one with this key has succeeded,
// or has started after it.
func superseded(t *task.Task, k task.Key) bool {
	switch {
	case k.Run < t.Run:
		return true
	case t.State == task.StateSucceeded:
		// An earlier attempt than the last may be the one that has.
		return !succeeded(t, executionOf(k))
	case k.Attempt < t.Attempt:
		return true
	}
	return k.Compare(t.Started) < 0
}

// succeeded says that it is this execution with which the task has succeeded.
func succeeded(t *task.Task, x execution) bool {
	return t.State == task.StateSucceeded && executionOf(t.Decided) == x
}

// executedAgain says that the task is executed another time, so that its messages
// come from the start: the worker was lost, or stopped, that had sent those which the
// caller has, or the attempt failed of a task that was not submitted by such a call.
func (c *call) executedAgain() error {
	return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_STREAM_RESTARTED,
		"the execution whose messages were passed on was cut off, or is tried again: the task %s is executed from the start; %s", c.taskID, c.goOn("WatchTask")).
		With("task_id", c.taskID)
}

package worker

import (
	"github.com/warrenmq/warren/pkg/task"
)

// dropped says what to do with a delivery whose run is cancelled before its
// handler is begun: nil if it is not. No permit is asked for that: nothing is
// started, and the message is to be seen gone.
func (x *execution) dropped() *verdict {
	reason, yes := x.w.cancelled.of(x.key)
	if !yes {
		return nil
	}
	return x.cancelled(reason, nil)
}

// cancelled ends a task whose run is cancelled; f is what its handler failed with,
// nil if it was not begun or did not fail.
func (x *execution) cancelled(reason string, f *task.Failure) *verdict {
	e := x.event(task.PhaseCancelled)
	e.Reason, e.Failure = reason, f
	return &verdict{e, x.delivery.Accept}
}

// cancelledMeanwhile says whether the run of a handler that has returned is
// cancelled, and why.
func (x *execution) cancelledMeanwhile() (reason string, yes bool) {
	if reason, yes = x.w.cancelled.of(x.key); yes {
		return reason, yes
	}
	return x.w.executions.of(x)
}

package worker

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

const (
	// notBegunPause is how long a task waits whose handler could not begin.
	notBegunPause = time.Second
	// maxDecision bounds, in bytes, what of a handler's error goes into a decision.
	maxDecision = 1 << 10
)

// notBegun gives a task back of which nothing was done, to be delivered again
// after d: neither its attempt nor the permit of its start is spent. That is on
// record before the settlement and counts without it.
func (x *execution) notBegun(d time.Duration, why string) *verdict {
	e := x.event(task.PhaseReleased)
	e.Decision = cut("not begun: "+valid(why), maxDecision)
	return &verdict{e, x.comeBack(d)}
}

// putOff gives a task back that was not started, to be delivered again after d. A
// permit that its start may have got counts if its type runs at most once: of such
// a task alone it goes on record that nothing came of it.
func (x *execution) putOff(d time.Duration, why string) *verdict {
	if x.rules.AtMostOnce() {
		return x.notBegun(d, why)
	}
	return &verdict{settle: x.comeBack(d)}
}

// handBack gives a task back at once that was not started, if nothing was asked for
// its start.
func (x *execution) handBack(why string) *verdict {
	if x.needsPermit() {
		return x.putOff(notBegunPause, why)
	}
	return &verdict{settle: x.delivery.Release}
}

// comeBack settles for another delivery: after d, by the gateways' clock; at once,
// for another worker, if this one stops and had no need of a permit.
func (x *execution) comeBack(d time.Duration) settlement {
	if x.w.stopTaking.Err() != nil && !x.needsPermit() {
		return x.delivery.Release
	}
	return func(ctx context.Context) error { return x.delivery.Postpone(ctx, x.w.clock.now().Add(d)) }
}

package worker

import (
	"context"
	"errors"

	"github.com/warrenmq/warren/pkg/task"
)

// needsPermit says whether this delivery may not be the task's only one.
func (x *execution) needsPermit() bool {
	return x.msg.Resend || x.msg.Run > 1 || x.delivery.Failed() > 0 || x.rules.AtMostOnce()
}

// askPermit asks for a start, until ctx ends. It returns how many workers the task may have
// taken down, or what is to be done instead of starting it.
func (x *execution) askPermit(ctx context.Context) (crashes int, instead *verdict) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(x.w.draining, cancel)
	defer stop()
	answer, err := x.w.permit(ctx, x.startRequest())
	if err != nil {
		return x.unpermitted(err)
	}
	switch answer.Verdict {
	case task.VerdictDrop:
		return 0, &verdict{settle: x.delivery.Accept}
	case task.VerdictRepeat:
		return 0, x.repeat(answer.Outcome)
	case task.VerdictGiveUp:
		return 0, x.startedBefore()
	}
	if answer.Crashed != nil {
		return 0, x.crashed(answer.Crashed)
	}
	return answer.Crashes, nil
}

// unpermitted says what askPermit does when no gateway has answered. If one was
// asked, a permit may be on its way: put off, it counts for nothing.
func (x *execution) unpermitted(err error) (crashes int, instead *verdict) {
	asked := !errors.Is(err, errNotAsked)
	switch {
	case x.w.draining.Err() != nil || x.attached.Err() != nil:
		if !asked {
			return 0, &verdict{settle: x.delivery.Release}
		}
		return 0, x.putOff(notBegunPause, "its worker stopped or was cut off before a gateway permitted the start")
	case x.msg.Run > 1 || x.rules.AtMostOnce():
		x.log().Warn("no gateway permits the start of a task, it waits", "error", err)
		if !asked {
			return 0, &verdict{settle: x.comeBack(permitPause)}
		}
		return 0, x.putOff(permitPause, "no gateway permitted the start in time")
	}
	if v := x.dropped(); v != nil {
		return 0, v // what has ended the wait is its cancellation
	}
	x.log().Warn("no gateway permits the start of a task, which starts all the same: it may be executed twice", "error", err)
	return int(x.delivery.Failed()), nil
}

func (x *execution) startRequest() task.StartRequest {
	from, to := x.delivery.PutOff()
	return task.StartRequest{
		RequestID: task.NewID(), TaskID: x.msg.ID, Type: x.taskType, Run: x.msg.Run, Attempt: x.delivery.Attempt(), Copy: x.msg.Copy,
		Delivery: x.delivery.Acquired(), SettledDelivery: x.delivery.Settled(), Failed: x.delivery.Failed(),
		Resend: x.msg.Resend, AtMostOnce: x.rules.AtMostOnce(), PutOffFrom: from, PutOffTo: to,
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	// suspicious is from how many failed deliveries on a task is suspected of
	// having caused them.
	suspicious = 2
	// suspectPause is how long a suspect waits for another worker while this one
	// runs another suspect.
	suspectPause = time.Second
	// maxClearing is how long others are waited for that run beside a suspect;
	// then it waits for clearingPause, and this process goes on as usual.
	maxClearing   = 2 * time.Minute
	clearingPause = 30 * time.Second
	// permitPause is how long a task waits whose start no gateway has permitted.
	permitPause = 10 * time.Second
)

// admit says whether a delivery may be started: nil is yes; else what is to be
// done with it instead. One that is to be alone in the process is, until
// its end.
func (x *execution) admit() (*verdict, error) {
	crashes := 0
	if x.needsPermit() {
		var instead *verdict
		if crashes, instead = x.askPermit(); instead != nil {
			return instead, nil
		}
	}
	if x.delivery.Attempt() > x.rules.MaxAttempts() {
		return x.exhausted(), nil
	}
	if x.delivery.Alone() || crashes >= suspicious {
		if v := x.isolate(); v != nil {
			return v, nil
		}
	}
	return x.lastChecks()
}

// lastChecks come right before the handler: the time, and that nothing more is
// taken on this connection.
func (x *execution) lastChecks() (*verdict, error) {
	if x.tooLate() {
		return x.expired(), nil
	}
	e := x.startedEvent()
	x.started = e.Time
	if err := x.reportStart(e); err != nil {
		return nil, fmt.Errorf("report the start: %w", err)
	}
	// Reporting takes time when the broker is slow.
	return x.overtaken(), nil
}

// overtaken says what has come in between a start and its handler.
func (x *execution) overtaken() *verdict {
	switch {
	case x.attached.Err() != nil:
		return x.notBegun(notBegunPause, "the connection to the broker was lost")
	case x.w.draining.Err() != nil:
		return x.notBegun(notBegunPause, "the worker drains")
	case x.tooLate():
		return x.expired()
	case x.w.gate.paused():
		return x.notBegun(notBegunPause, "the worker was paused")
	}
	return nil
}

// expiryMargin is by how much a task expires early here: what is known of the
// gateways' time is late by the way of a message.
const expiryMargin = 50 * time.Millisecond

func (x *execution) tooLate() bool {
	expires := x.msg.ExpireTime
	return !expires.IsZero() && !x.w.clock.now().Add(expiryMargin).Before(expires)
}

// reportStart waits until the start is on record if it must be before the
// handler runs: of a suspect, whose process may end at once; and of any start
// that may not be the attempt's only one, because with this process gone the
// other one would look as if it were.
func (x *execution) reportStart(e *task.Event) error {
	if x.alone || x.needsPermit() {
		return x.report(e)
	}
	_, err := x.w.status.Write(x.base, e)
	return err
}

// needsPermit says whether this delivery may not be the task's only one.
func (x *execution) needsPermit() bool {
	return x.msg.Resend || x.msg.Run > 1 || x.delivery.Failed() > 0 || x.rules.AtMostOnce()
}

// askPermit asks for a start. It returns how many workers the task may have
// taken down, or what is to be done instead of starting it.
func (x *execution) askPermit() (crashes int, instead *verdict) {
	ctx, cancel := context.WithCancel(x.attached)
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
		x.w.cfg.Logger.Warn("no gateway permits the start of a task, it waits", "task_id", x.msg.ID, "type", x.taskType, "error", err)
		if !asked {
			return 0, &verdict{settle: x.comeBack(permitPause)}
		}
		return 0, x.putOff(permitPause, "no gateway permitted the start in time")
	}
	x.w.cfg.Logger.Warn("no gateway permits the start of a task, which starts all the same: it may be executed twice", "task_id", x.msg.ID, "type", x.taskType, "error", err)
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

// repeat settles as an earlier delivery would have been, whose outcome is on
// record.
func (x *execution) repeat(outcome *task.Event) *verdict {
	switch outcome.Key.Phase {
	case task.PhaseRetrying:
		x.remember(outcome, nil)
		return &verdict{settle: x.again(outcome)}
	case task.PhaseDeadLettered:
		if outcome.Cause == task.CauseExpired && outcome.Decision == decisionExpired {
			return x.asUnstarted(outcome, x.delivery.Attempt()-1)
		}
		x.remember(outcome, nil)
		return &verdict{settle: x.dead(outcome)}
	}
	return &verdict{settle: x.delivery.Accept}
}

// crashed decides about an attempt that ran alone in a process which ended with
// it.
func (x *execution) crashed(start *task.Event) *verdict {
	f := failure(withReason(codes.Internal, fmt.Sprintf("the worker %s ended while it ran this task and nothing else", start.WorkerID),
		taskv1.ErrorReason_ERROR_REASON_WORKER_CRASHED, nil))
	f.Kind = task.KindCrash
	x.started = start.Time
	e := x.event(task.PhaseRetrying)
	e.Key.Attempt, e.Key.Delivery = start.Key.Attempt, start.Key.Delivery
	return x.decided(e, f, policy.Attempt{}, start)
}

// decisionExpired is what was decided about an attempt that was not started.
const decisionExpired = "its expire time passed before the attempt was started"

// expired gives up a task whose time has passed.
func (x *execution) expired() *verdict {
	return x.unstarted(task.CauseExpired, x.delivery.Attempt()-1, decisionExpired, withReason(codes.DeadlineExceeded,
		"the expire time passed before an attempt could start", taskv1.ErrorReason_ERROR_REASON_EXPIRED,
		map[string]string{"expire_time": x.msg.ExpireTime.UTC().Format(time.RFC3339Nano)}))
}

// startedBefore gives up a task that may be started once, and was.
func (x *execution) startedBefore() *verdict {
	return x.unstarted(task.CauseDeliveryLimit, x.delivery.Attempt(), "the task type runs at most once, and its one start was lost", withReason(codes.Aborted,
		"the task was started before and its worker was lost; its type runs at most once", taskv1.ErrorReason_ERROR_REASON_AT_MOST_ONCE, nil))
}

// exhausted gives up a task at an attempt which its policy, that has changed
// meanwhile, does not allow any more.
func (x *execution) exhausted() *verdict {
	e := x.event(task.PhaseDeadLettered)
	e.Key.Attempt = max(x.delivery.Attempt()-1, 1)
	e.Cause = task.CauseAttemptsExhausted
	e.Decision = fmt.Sprintf("attempt %d is due, but the policy in force now allows %d", x.delivery.Attempt(), x.rules.MaxAttempts())
	if n := len(x.history.Attempts); n > 0 {
		e.Failure = broker.FailureFromProto(x.history.Attempts[n-1].Failure)
	}
	return &verdict{e, x.dead(e)}
}

// isolate waits until nothing else runs in this process, and keeps it so. nil
// says that it is so; else others are to have the task.
func (x *execution) isolate() *verdict {
	if !x.w.gate.claim() {
		return x.putOff(suspectPause, "another suspect is alone in the worker's process")
	}
	x.w.cfg.Logger.Warn("a task is suspected of taking workers down: it runs alone in this process, others wait", "task_id", x.msg.ID, "type", x.taskType)
	ctx, cancel := context.WithTimeout(x.attached, maxClearing)
	defer cancel()
	stop := context.AfterFunc(x.w.stopTaking, cancel)
	defer stop()
	paused := false
	cleared := x.w.gate.await(ctx, func(s gateState) bool {
		paused = s.paused
		return paused || s.clear()
	})
	if cleared && !paused {
		x.alone = true
		return nil
	}
	x.w.gate.yield()
	if paused {
		return x.putOff(suspectPause, "the worker was paused")
	}
	return x.putOff(clearingPause, "it could not be alone in the worker's process")
}

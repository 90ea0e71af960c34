package worker

import (
	"context"
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
	if v := x.dropped(); v != nil {
		return v, nil
	}
	if v := x.allow(); v != nil {
		// Its cancellation ends a wait, whatever came of that.
		if dropped := x.dropped(); dropped != nil {
			v = dropped
		}
		return v, nil
	}
	return x.lastChecks()
}

// allow asks and waits for what the delivery needs to be started: nil says that it
// has it.
func (x *execution) allow() *verdict {
	ctx := x.attached
	if x.needsPermit() || x.delivery.Alone() {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		x.w.executions.stopBy(x, time.Time{}, cancel)
	}
	crashes := 0
	if x.needsPermit() {
		var instead *verdict
		if crashes, instead = x.askPermit(ctx); instead != nil {
			return instead
		}
	}
	if x.delivery.Attempt() > x.rules.MaxAttempts() {
		return x.exhausted()
	}
	if x.delivery.Alone() || crashes >= suspicious {
		return x.isolate(ctx)
	}
	return nil
}

// lastChecks come right before the handler: the time, that the task is wanted, and
// that nothing more is taken on this connection.
func (x *execution) lastChecks() (*verdict, error) {
	if v := x.dropped(); v != nil {
		return v, nil
	}
	if x.tooLate() {
		return x.expired(), nil
	}
	if why := x.barred(); why != "" {
		return x.handBack(why), nil
	}
	x.startSpan()
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
	if x.attached.Err() != nil {
		return x.notBegun(notBegunPause, "the connection to the broker was lost")
	}
	if v := x.dropped(); v != nil {
		return v
	}
	if x.w.draining.Err() != nil {
		return x.notBegun(notBegunPause, "the worker drains")
	}
	if x.tooLate() {
		return x.expired()
	}
	if why := x.barred(); why != "" {
		return x.notBegun(notBegunPause, why)
	}
	return nil
}

// barred says why nothing is to be started of this type, or on this connection;
// empty if it may.
func (x *execution) barred() string {
	if why := x.w.gate.barred(); why != "" {
		return why
	}
	if x.pool.suspended(&x.w.clock) > 0 {
		return "its task type was paused"
	}
	if !x.link.Fresh() {
		return "the broker has been silent for too long"
	}
	return ""
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

// isolate waits until nothing else runs in this process, and keeps it so, if that is
// before ctx ends. nil says that it is so; else others are to have the task.
func (x *execution) isolate(ctx context.Context) *verdict {
	if !x.w.gate.claim() {
		return x.putOff(suspectPause, "another suspect is alone in the worker's process")
	}
	x.log().Warn("a task is suspected of taking workers down: it runs alone in this process, others wait")
	ctx, cancel := context.WithTimeout(ctx, maxClearing)
	defer cancel()
	stop := context.AfterFunc(x.w.stopTaking, cancel)
	defer stop()
	barred := ""
	cleared := x.w.gate.await(ctx, func(s gateState) bool {
		barred = s.barred()
		return barred != "" || s.clear()
	})
	if cleared && barred == "" {
		x.alone = true
		return nil
	}
	x.w.gate.yield()
	if barred != "" {
		return x.putOff(suspectPause, barred)
	}
	return x.putOff(clearingPause, "it could not be alone in the worker's process")
}

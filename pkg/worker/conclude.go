package worker

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

// conclude says what the handler's return means for the task.
func (x *execution) conclude(r returned) verdict {
	if r.err == nil {
		e := x.answered(task.PhaseSucceeded, r)
		e.Message = r.reply
		return verdict{e, x.delivery.Accept}
	}
	advice, delay := task.AdviceOf(r.err)
	// One that was lost is dropped when it is delivered again.
	if reason, yes := x.cancelledMeanwhile(); yes && !isLost(r.cause) {
		if advice == task.AdviceSnooze {
			return *x.cancelled(reason, nil)
		}
		return *x.cancelled(reason, x.failureOf(r))
	}
	if advice == task.AdviceNotBegun && !x.stream.begun() {
		return *x.notBegun(notBegunPause, r.err.Error())
	}
	var own *tooLargeError
	if phase, ok := interrupted(r.cause); ok && !errors.As(r.err, &own) {
		return verdict{x.event(phase), x.delivery.Release}
	}
	a := policy.Attempt{Advice: advice, Delay: delay, Committed: x.msg.Committing && x.stream.begun()}
	if advice == task.AdviceSnooze {
		return *x.decided(x.answered(task.PhaseRetrying, r), nil, a, nil)
	}
	return *x.decided(x.answered(task.PhaseRetrying, r), x.failureOf(r), a, nil)
}

// answered is the event of a handler's return, with the headers and trailers that
// it has set.
func (x *execution) answered(phase task.Phase, r returned) *task.Event {
	e := x.event(phase)
	e.Headers, e.Trailers = r.headers, r.trailers
	return e
}

// decided has the policy decide what follows an attempt. e is the event of a
// retry; start is its STARTED event if another worker executed it.
func (x *execution) decided(e *task.Event, f *task.Failure, a policy.Attempt, start *task.Event) *verdict {
	a.Number, a.Ignored, a.Failure = e.Key.Attempt, int(x.history.Ignored), f
	a.RunTime, a.Now, a.ExpireTime = x.msg.RunTime, x.w.clock.now(), x.msg.ExpireTime
	d := x.rules.Decide(a)
	e.Failure, e.Decision = f, d.Why
	if !d.Retry {
		e.Key.Phase, e.Cause = task.PhaseDeadLettered, d.Cause
		if f == nil {
			e.Failure = failure(status.New(codes.Aborted, "the handler asked to be called again later, which its policy does not allow any more"))
		}
		x.remember(e, start)
		return &verdict{e, x.dead(e)}
	}
	e.NextAttempt, e.NextAttemptTime = d.NextAttempt, d.At
	x.remember(e, start)
	return &verdict{e, x.again(e)}
}

// again settles for the next attempt. One that follows a crash is started alone.
func (x *execution) again(e *task.Event) settlement {
	again := broker.Again{
		At: e.NextAttemptTime, Attempt: e.NextAttempt, History: x.history,
		Alone: e.Failure != nil && e.Failure.Kind == task.KindCrash,
	}
	return func(ctx context.Context) error { return x.delivery.Retry(ctx, again) }
}

func (x *execution) dead(e *task.Event) settlement {
	death := x.death(e)
	return func(ctx context.Context) error { return x.delivery.DeadLetter(ctx, death) }
}

func (x *execution) death(e *task.Event) broker.Death {
	return broker.Death{Cause: e.Cause, Failure: e.Failure, Decision: e.Decision, Attempt: e.Key.Attempt, History: x.history}
}

// remember enters an attempt that has ended into the history that travels with
// the message. start is its STARTED event if another worker executed it.
func (x *execution) remember(e, start *task.Event) {
	past := &brokerv1.PastAttempt{
		Attempt: int32(e.Key.Attempt), Delivery: e.Key.Delivery, WorkerId: e.WorkerID,
		EndTime: timestamppb.New(e.Time), Failure: broker.FailureToProto(e.Failure), Reason: policy.Reason(e.Failure), Decision: e.Decision,
		Ignored: e.Key.Phase == task.PhaseRetrying && e.NextAttempt == e.Key.Attempt,
	}
	switch {
	case start != nil:
		past.WorkerId, past.StartTime = start.WorkerID, timestamppb.New(start.Time)
		if start.Execution != nil {
			past.WorkerHost, past.WorkerVersion = start.Execution.Host, start.Execution.Version
			past.TraceId, past.SpanId = start.Execution.Span.Bytes()
		}
	case e.WorkerID == x.w.ID():
		past.WorkerHost, past.WorkerVersion = x.w.identity.Host, x.w.identity.Version
		if !x.started.IsZero() {
			past.StartTime = timestamppb.New(x.started)
			past.TraceId, past.SpanId = x.traced.ids.Bytes()
		}
	}
	if !e.NextAttemptTime.IsZero() {
		past.NextAttemptTime = timestamppb.New(e.NextAttemptTime)
	}
	x.history.Attempts = append(x.history.Attempts, past)
	if past.Ignored {
		x.history.Ignored++
	}
}

// unstarted gives up a delivery that was not started; last is the last attempt
// that was.
func (x *execution) unstarted(cause task.Cause, last int, decision string, st *status.Status) *verdict {
	e := x.event(task.PhaseDeadLettered)
	e.Cause, e.Failure, e.Decision = cause, failure(st), decision
	v := x.asUnstarted(e, last)
	v.event = e
	return v
}

// asUnstarted settles for the end of a task whose present attempt was not
// started.
func (x *execution) asUnstarted(e *task.Event, last int) *verdict {
	death := x.death(e)
	death.Attempt = last
	return &verdict{settle: func(ctx context.Context) error { return x.delivery.DeadLetter(ctx, death) }}
}

// undecodable gives up a message that is no task of this type. Whatever id it has,
// it speaks for no task, so there is no status to report.
func (x *execution) undecodable(problem error) verdict {
	x.log().Error("a message in a work queue is no task, it becomes a dead letter", "queue", x.w.broker.Names().Work(x.taskType), "error", problem)
	v := x.unstarted(task.CauseUndecodable, 0, "the message is no task", withReason(codes.InvalidArgument, problem.Error(), taskv1.ErrorReason_ERROR_REASON_MESSAGE_UNDECODABLE, nil))
	v.event = nil
	return *v
}

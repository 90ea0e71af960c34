package intake

import (
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// arrivalOf is what the store keeps of a message that died.
func (i *Intake) arrivalOf(x *broker.DeadLetter) store.Arrival {
	a := store.Arrival{
		Message: store.Message{
			Body: x.Body, Properties: x.Properties, Headers: x.Headers,
			Queue: x.Queue, Exchange: x.Exchange, RoutingKeys: x.RoutingKeys,
		},
		Occurrence: store.Occurrence{
			Cause: x.Cause, Failure: x.Failure, Decision: x.Decision, DeadTime: x.Time, BrokerReason: x.BrokerReason,
			Attempts: x.Attempts, AttemptsOmitted: x.AttemptsOmitted,
		},
	}
	if x.Problem != nil {
		asForeign(&a, x)
	} else {
		asTask(&a, x)
	}
	a.Occurrence.Reason = policy.Reason(a.Occurrence.Failure)
	groups.Identify(&a)
	a.Notify = i.cfg.Notify(&a)
	return a
}

func asForeign(a *store.Arrival, x *broker.DeadLetter) {
	a.ID, a.Foreign = task.NewID(), true
	if len(x.RoutingKeys) > 0 {
		a.Type = x.RoutingKeys[0]
	}
	if o := &a.Occurrence; o.Failure == nil {
		o.Failure = rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_MESSAGE_UNDECODABLE, "%s", x.Problem.Error()).Failure()
	}
}

func asTask(a *store.Arrival, x *broker.DeadLetter) {
	m, o := &x.Task, &a.Occurrence
	a.ID, a.Type, a.Labels, a.Priority = m.ID, m.Type, m.Labels, m.Priority
	a.CreateTime, a.RunTime, a.Template = m.CreateTime, m.RunTime, replay.EncodeTemplate(m)
	o.Run, o.Attempt, o.TraceID = m.Run, x.Attempt, telemetry.TraceIDOf(m.Trace)
	last := task.Record{}
	if n := len(x.Attempts); n > 0 {
		last = x.Attempts[n-1]
	}
	o.WorkerID = last.WorkerID
	if !x.ByBroker() {
		return
	}
	// The one that the message was at has begun only if it took its workers down.
	if o.Attempt = last.Key.Attempt; x.Cause == task.CauseDeliveryLimit {
		o.Attempt = max(x.Attempt, 1)
	}
	o.Failure, o.Decision = brokerFailure(x)
}

// brokerFailure says what ended a task that the broker gave up by itself.
func brokerFailure(x *broker.DeadLetter) (*task.Failure, string) {
	const prefix = "RabbitMQ gave the task up by itself: "
	answer := func(code codes.Code, reason taskv1.ErrorReason, why string) (*task.Failure, string) {
		return rpc.Errorf(code, reason, "%s", prefix+why).With("broker_reason", x.BrokerReason).Failure(), prefix + why
	}
	switch x.Cause {
	case task.CauseExpired:
		return answer(codes.DeadlineExceeded, taskv1.ErrorReason_ERROR_REASON_EXPIRED,
			"its time in the queue ended before an attempt could start")
	case task.CauseDeliveryLimit:
		f, why := answer(codes.Internal, taskv1.ErrorReason_ERROR_REASON_WORKER_CRASHED,
			"it was delivered as often as its queue allows, and each time the worker was lost")
		f.Kind = task.KindCrash
		return f, why
	case task.CauseMaxLength:
		return answer(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_BROKER_DEAD_LETTERED,
			"its queue is over a length limit that an operator has set")
	default:
		return answer(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_BROKER_DEAD_LETTERED,
			"a consumer that is no worker of Warren's rejected it")
	}
}

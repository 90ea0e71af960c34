package broker

import (
	"errors"
	"math"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// headerProblem says what is wrong with a message that was parked.
const headerProblem = "warren-problem"

// DeadLetter is a message of the dead-letter queue. Whoever may publish can
// forge everything in it: it is what the message says.
type DeadLetter struct {
	// Task is the task, unless there is a Problem.
	Task TaskMessage
	// Problem says why the message is no task.
	Problem error
	// Cause is why it died.
	Cause task.Cause
	// BrokerReason is the broker's own (`rejected`, `expired`, `maxlen`,
	// `delivery_limit`) if it gave the message up by itself, and else empty.
	BrokerReason string
	// Failure and Decision are what a worker, or whoever gave it up, said; nil and
	// empty if nothing.
	Failure  *task.Failure
	Decision string
	// Attempt is the one that the message was at, which may not have been started;
	// 0 if no worker has ever settled it.
	Attempt int
	// Acquired is at least how often the message was delivered in its work queue.
	Acquired int64
	// Attempts are the run's as far as the message tells, oldest first, and
	// AttemptsOmitted how many it does not tell.
	Attempts        []task.Record
	AttemptsOmitted int
	// Queue is where it died; Exchange and RoutingKeys are what it was published
	// with.
	Queue, Exchange string
	RoutingKeys     []string
	// Time is when it died; zero if unknown.
	Time time.Time
	Body []byte
	// Properties and Headers are for people: properties that are set, by their
	// names in AMQP, and headers, whose values are JSON unless they are text.
	Properties, Headers map[string]string
}

// DecodeDeadLetter reads a message of the dead-letter queue, whatever it is.
func DecodeDeadLetter(d Delivery) DeadLetter {
	x := DeadLetter{Body: d.Body, Properties: propertiesOf(&d), Headers: headersOf(d.Headers)}
	death := lastDeath(d.Headers)
	x.Queue, x.Exchange, x.RoutingKeys, x.Time = death.queue, death.exchange, death.keys, death.time
	if x.RoutingKeys == nil {
		x.RoutingKeys = []string{d.RoutingKey}
	}
	x.readAnnotations(d.Headers)
	if x.Cause == 0 && death.cause != 0 {
		x.Cause, x.BrokerReason = death.cause, death.reason
	}
	x.Problem = x.readTask(d)
	if x.Problem != nil {
		x.Cause = task.CauseUndecodable
	}
	x.tellTime()
	return x
}

// ByBroker says whether the message is a task that the broker gave up by
// itself, so that nobody has said yet that its run has ended.
func (x *DeadLetter) ByBroker() bool { return x.Problem == nil && x.BrokerReason != "" }

// readAnnotations reads what settlements have left. Of these only that of who
// gave the message up has a cause.
func (x *DeadLetter) readAnnotations(h map[string]any) {
	name, _ := h[annotationCause].(string)
	x.Cause, _ = task.ParseCause(name)
	decision, _ := h[annotationDecision].(string)
	x.Decision = utf8(decision)
	var failure taskv1.Failure
	if b := bytesOf(h[annotationFail]); b != nil && proto.Unmarshal(b, &failure) == nil {
		if failure.Code == 0 {
			failure.Code = 2 // google.rpc.Code UNKNOWN: a failure is never OK
		}
		x.Failure = FailureFromProto(&failure)
	}
	x.Attempt = int(min(max(integer(h[annotationTry]), 0), math.MaxInt32))
	x.Acquired = min(max(integer(h["x-acquired-count"]), integer(h[annotationTaken]), 0), math.MaxInt32)
}

// readTask reads the task that the message is, or says why it is none.
func (x *DeadLetter) readTask(d Delivery) error {
	if problem, ok := d.Headers[headerProblem].(string); ok {
		return errors.New(utf8(problem))
	}
	m, err := taskOf(d, typeOf(d, x.Queue))
	switch {
	case err != nil:
		return err
	case x.Cause == 0:
		return errors.New("the message was put into the dead-letter queue without having died")
	}
	x.Task = m
	x.readHistory(d.Headers)
	return nil
}

// typeOf is the task type: that of the work queue, which decides for workers
// too, else the key that the message was published with. No namespace has a dot.
func typeOf(d Delivery, queue string) string {
	if _, taskType, ok := strings.Cut(queue, Names{}.Work("")); ok {
		return utf8(taskType)
	}
	return utf8(d.RoutingKey)
}

func (x *DeadLetter) readHistory(headers map[string]any) {
	var h brokerv1.AttemptHistory
	if proto.Unmarshal(bytesOf(headers[annotationHistory]), &h) != nil {
		return
	}
	x.AttemptsOmitted = int(max(h.Omitted, 0))
	for _, a := range h.Attempts {
		x.Attempts = append(x.Attempts, x.pastAttempt(a))
	}
}

func (x *DeadLetter) pastAttempt(a *brokerv1.PastAttempt) task.Record {
	r := task.Record{
		Key: task.Key{
			Run: x.Task.Run, Attempt: int(max(a.Attempt, 0)), Delivery: max(a.Delivery, 0), Phase: task.PhaseStarted, Copy: x.Task.Copy,
		},
		WorkerID: a.WorkerId, Execution: task.Execution{Host: a.WorkerHost, Version: a.WorkerVersion, Span: task.SpanOf(a.TraceId, a.SpanId)},
		StartTime: plausible(asTime(a.StartTime)), EndTime: plausible(asTime(a.EndTime)), NextAttemptTime: plausible(asTime(a.NextAttemptTime)),
		Failure: FailureFromProto(a.Failure), Decision: a.Decision, Outcome: task.OutcomeFailed,
	}
	switch {
	case r.Failure == nil:
		r.Outcome = task.OutcomeSnoozed
	case r.Failure.Kind == task.KindTimeout:
		r.Outcome = task.OutcomeTimedOut
	case r.Failure.Kind == task.KindPanic:
		r.Outcome = task.OutcomePanicked
	case r.Failure.Kind == task.KindCrash:
		r.Outcome = task.OutcomeCrashed
	}
	return r
}

// tellTime says when the message died: the end of its last attempt if that is
// why, since the broker's time is in whole seconds.
func (x *DeadLetter) tellTime() {
	if n := len(x.Attempts); n > 0 && x.BrokerReason == "" && !x.Attempts[n-1].EndTime.IsZero() {
		x.Time = x.Attempts[n-1].EndTime
	}
	if began := x.Task.RunTime; !x.Time.IsZero() && x.Time.Before(began) && began.Sub(x.Time) < time.Second {
		x.Time = began
	}
}

// death is an entry of `x-death`.
type death struct {
	reason          string
	cause           task.Cause
	queue, exchange string
	keys            []string
	time            time.Time
}

var brokerCauses = map[string]task.Cause{
	"rejected": task.CauseRejected, "expired": task.CauseExpired,
	"maxlen": task.CauseMaxLength, "delivery_limit": task.CauseDeliveryLimit,
}

// lastDeath is the newest entry of `x-death`, which comes first; without one,
// what other headers tell of it, and else zero.
// https://www.rabbitmq.com/docs/dlx#effects
func lastDeath(headers map[string]any) (x death) {
	entries, _ := headers["x-death"].([]any)
	if len(entries) == 0 {
		entries = []any{amqp091.Table{
			"reason": headers["x-last-death-reason"], "queue": headers["x-last-death-queue"], "exchange": headers["x-last-death-exchange"],
		}}
	}
	entry, _ := entries[0].(amqp091.Table)
	text := func(key string) string {
		s, _ := entry[key].(string)
		return utf8(s)
	}
	x.reason, x.queue, x.exchange = text("reason"), text("queue"), text("exchange")
	x.cause = brokerCauses[x.reason]
	keys, _ := entry["routing-keys"].([]any)
	for _, k := range keys {
		if s, ok := k.(string); ok {
			x.keys = append(x.keys, utf8(s))
		}
	}
	if t, ok := entry["time"].(time.Time); ok {
		x.time = plausible(t.UTC())
	}
	return x
}

// integer is a header's value as AMQP's integers come, 0 for anything else.
func integer(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case int32:
		return int64(v)
	case uint32:
		return int64(v)
	case int16:
		return int64(v)
	case uint16:
		return int64(v)
	case int8:
		return int64(v)
	case uint8:
		return int64(v)
	}
	return 0
}

// plausible is a time after 1970 that a protobuf timestamp can be, or zero.
func plausible(t time.Time) time.Time {
	if t.Unix() <= 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

package broker

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	amqp "github.com/Azure/go-amqp"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// Annotations that a message gets when it is settled. To a consumer over AMQP
// 0-9-1 they are headers.
const (
	// annotationTime is RabbitMQ's own: the message is invisible until then, in ms
	// since 1970 (RabbitMQ 4.3, Quorum Queues, "Explicit Delivery Time").
	annotationTime = "x-opt-delivery-time"
	// annotationTry is the number of the attempt that the message is at.
	annotationTry = "x-opt-warren-attempt"
	// annotationCount is the broker's count of failed deliveries, annotationTaken
	// that of acquisitions, when the message was settled last.
	annotationCount = "x-opt-warren-count"
	annotationTaken = "x-opt-warren-delivery"
	// annotationPutOffFrom and annotationPutOffTo are the counts of acquisitions of
	// the last deliveries in a row that were put off.
	annotationPutOffFrom = "x-opt-warren-put-off-from"
	annotationPutOffTo   = "x-opt-warren-put-off-to"
	// annotationAlone says that the next start is to be alone in its process.
	annotationAlone = "x-opt-warren-alone"
	// annotationHistory is an encoded AttemptHistory.
	annotationHistory = "x-opt-warren-history"
	// What a dead letter has besides.
	annotationCause    = "x-opt-warren-cause"
	annotationFail     = "x-opt-warren-failure"
	annotationDecision = "x-opt-warren-decision"
)

// Attempt is the number of the attempt that this delivery is for, from 1. What a
// foreign publisher has put there is cut to what can be told.
func (d *WorkDelivery) Attempt() int {
	return int(min(max(d.annotation(annotationTry), 1), math.MaxInt32))
}

// Acquired counts the deliveries of the message, this one included.
func (d *WorkDelivery) Acquired() int64 {
	return min(max(d.annotation("x-acquired-count"), 0), math.MaxInt64-1) + 1
}

// Settled is what Acquired was when a worker last settled the message to be
// delivered again; 0 for never.
func (d *WorkDelivery) Settled() int64 { return d.annotation(annotationTaken) }

// PutOff are the counts of acquisitions of the last deliveries in a row that were
// put off, from the first to the last; 0 for none.
func (d *WorkDelivery) PutOff() (from, to int64) {
	return d.annotation(annotationPutOffFrom), d.annotation(annotationPutOffTo)
}

// Failed counts the deliveries before this one that ended in a lost
// connection, since the last settlement.
func (d *WorkDelivery) Failed() int64 { return max(d.failedInAll()-d.annotation(annotationCount), 0) }

func (d *WorkDelivery) failedInAll() int64 {
	if d.m.Header == nil {
		return 0
	}
	return int64(d.m.Header.DeliveryCount)
}

// Alone says that the message is to be started alone in its process.
func (d *WorkDelivery) Alone() bool { return d.annotation(annotationAlone) != 0 }

// History is that of the run's earlier attempts as the message has it.
func (d *WorkDelivery) History() *brokerv1.AttemptHistory {
	h := &brokerv1.AttemptHistory{}
	if proto.Unmarshal(bytesOf(d.m.Annotations[annotationHistory]), h) != nil {
		// It is for people: a broken one is worth less than the task.
		return &brokerv1.AttemptHistory{}
	}
	return h
}

// bytesOf is a value as it was sent: RabbitMQ hands short binary over as text,
// and long text as binary.
func bytesOf(v any) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}

func (d *WorkDelivery) annotation(key string) int64 {
	switch v := d.m.Annotations[key].(type) {
	case int64:
		return v
	case int32:
		return int64(v)
	case uint64:
		return int64(v)
	case uint32:
		return int64(v)
	case int:
		return int64(v)
	}
	return 0
}

// Accept settles a delivery whose task has ended well, or that is dropped.
func (d *WorkDelivery) Accept(ctx context.Context) error { return d.r.AcceptMessage(ctx, d.m) }

// Release gives a delivery back, at once and at no cost.
func (d *WorkDelivery) Release(ctx context.Context) error { return d.r.ReleaseMessage(ctx, d.m) }

// Again says when and how a message is delivered again.
type Again struct {
	// At is when.
	At time.Time
	// Attempt is the number of the attempt then.
	Attempt int
	// Alone: it is to be started alone in its process.
	Alone bool
	// History replaces the one that the message has, nil leaves that.
	History *brokerv1.AttemptHistory
}

// Retry settles a delivery whose task is to be carried out again: the broker
// keeps the message and delivers it then.
func (d *WorkDelivery) Retry(ctx context.Context, a Again) error {
	annotations := amqp.Annotations{
		annotationTime: a.At.UnixMilli(), annotationTry: int64(a.Attempt),
		annotationCount: d.failedInAll(), annotationTaken: d.Acquired(), annotationAlone: int64(0),
	}
	if a.Alone {
		annotations[annotationAlone] = int64(1)
	}
	if a.History != nil {
		b, err := encodeHistory(a.History)
		if err != nil {
			return err
		}
		annotations[annotationHistory] = b
	}
	return d.r.ModifyMessage(ctx, d.m, &amqp.ModifyMessageOptions{Annotations: annotations})
}

// Postpone puts off a delivery that was not started, or whose handler was not
// begun: the broker delivers it again then. All that is known of the message stays,
// its failed deliveries too.
func (d *WorkDelivery) Postpone(ctx context.Context, until time.Time) error {
	from, to := d.PutOff()
	if to != d.Acquired()-1 {
		from = d.Acquired()
	}
	return d.r.ModifyMessage(ctx, d.m, &amqp.ModifyMessageOptions{Annotations: amqp.Annotations{
		annotationTime: until.UnixMilli(), annotationPutOffFrom: from, annotationPutOffTo: d.Acquired(),
	}})
}

// Death is why a task is given up.
type Death struct {
	Cause    task.Cause
	Failure  *task.Failure
	Decision string
	// Attempt is the last of the run.
	Attempt int
	// History is that of the run's attempts, nil leaves what the message has.
	History *brokerv1.AttemptHistory
}

// DeadLetter settles a delivery whose task is given up: the broker moves the
// message, body and properties untouched, into the dead-letter queue, at least
// once, with what is said here as headers.
func (d *WorkDelivery) DeadLetter(ctx context.Context, death Death) error {
	annotations, err := death.annotations()
	if err != nil {
		return err
	}
	return d.r.ModifyMessage(ctx, d.m, &amqp.ModifyMessageOptions{UndeliverableHere: true, Annotations: annotations})
}

func (x *Death) annotations() (map[any]any, error) {
	failure, err := encodeFailure(x.Failure)
	if err != nil {
		return nil, err
	}
	a := amqp.Annotations{
		annotationCause: x.Cause.String(), annotationFail: failure,
		annotationDecision: shorten(utf8(x.Decision), maxPastMessage), annotationTry: int64(x.Attempt),
	}
	if x.History != nil {
		if a[annotationHistory], err = encodeHistory(x.History); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Limits of what travels with a message: RabbitMQ closes the connection on
// headers beyond a frame.
const (
	// maxFailure bounds a whole failure.
	maxFailure = 16 << 10
	// maxHistory bounds a history.
	maxHistory = 32 << 10
	// maxPastMessage bounds the message of a failure that others have followed, and
	// what was decided.
	maxPastMessage = 1 << 10
	// maxReason bounds the reason of an ErrorInfo.
	maxReason = 256
)

// encodeHistory cuts a history to what may travel: of all failures but the last,
// details, stacks and long messages first, then the oldest attempts.
func encodeHistory(h *brokerv1.AttemptHistory) ([]byte, error) {
	h = proto.CloneOf(h)
	for i, a := range h.Attempts {
		a.Reason, a.Decision = shorten(a.Reason, maxReason), shorten(a.Decision, maxPastMessage)
		if f := a.Failure; f != nil && i < len(h.Attempts)-1 {
			f.Details, f.Stack = nil, ""
			f.Message = shorten(f.Message, maxPastMessage)
		} else if f != nil {
			cutFailure(f)
		}
	}
	size := proto.Size(h)
	for size > maxHistory && len(h.Attempts) > 1 {
		size -= proto.Size(h.Attempts[0])
		h.Attempts, h.Omitted = h.Attempts[1:], h.Omitted+1
	}
	b, err := proto.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode a history: %w", err)
	}
	return b, nil
}

func encodeFailure(failure *task.Failure) ([]byte, error) {
	m := FailureToProto(failure)
	cutFailure(m)
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a failure: %w", err)
	}
	return b, nil
}

// cutFailure cuts a failure to what may travel: details first, then the stack.
func cutFailure(m *taskv1.Failure) {
	if proto.Size(m) > maxFailure {
		m.Details = nil
	}
	if proto.Size(m) > maxFailure {
		m.Stack = ""
	}
	if over := proto.Size(m) - maxFailure; over > 0 {
		m.Message = shorten(m.Message, max(len(m.Message)-over-8, 0))
	}
}

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	amqp "github.com/Azure/go-amqp"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"google.golang.org/genproto/googleapis/rpc/code"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// The outcomes of AMQP 1.0 that are tried out.
const (
	settleModified      = "modified"
	settleReleased      = "released"
	settleUndeliverable = "modified, undeliverable-here"
	settleAccepted      = "accepted"
)

// headerSelfTest is a header of a trial's messages.
const headerSelfTest = "warren-selftest"

// run tries out all settlements.
func (t *trial) run(ctx context.Context) error {
	err := t.settle(ctx)
	return refused(err, t.trying)
}

// refused says so if the error is that the broker does not do what it was asked
// for; any other error is not about settlements.
func refused(err error, trying string) error {
	var link *amqp.LinkError
	if errors.As(err, &link) && link.RemoteErr != nil && refusals[link.RemoteErr.Condition] {
		return &SettlementError{trying, "the broker carries it out", "the broker refuses it: " + link.RemoteErr.Error(), false}
	}
	return err
}

// refusals are how a broker says that it does not do what it was asked for.
var refusals = map[amqp.ErrCond]bool{amqp.ErrCondNotImplemented: true, amqp.ErrCondNotAllowed: true, amqp.ErrCondInvalidField: true}

// settle settles two messages, one of them several times.
func (t *trial) settle(ctx context.Context) error {
	r, err := t.link.receive(ctx, t.source)
	if err != nil {
		return err
	}
	if err := t.publish(ctx); err != nil {
		return err
	}
	d, err := t.next(ctx, r)
	if err != nil {
		return fmt.Errorf("take a message: %w", err)
	}
	if d, err = t.tryModified(ctx, r, d); err != nil {
		return err
	}
	if d, err = t.tryReleased(ctx, r, d); err != nil {
		return err
	}
	if err := t.tryUndeliverable(ctx, d); err != nil {
		return err
	}
	return t.tryAccepted(ctx, r)
}

func (t *trial) message() amqp091.Publishing {
	return amqp091.Publishing{
		MessageId: t.id, Type: "warren.selftest", ContentType: contentType, Priority: 5, DeliveryMode: amqp091.Persistent,
		Headers: amqp091.Table{headerSelfTest: []byte{0, 1, 2}}, Body: []byte("self-test " + t.id),
	}
}

func (t *trial) publish(ctx context.Context) error {
	confirm, err := t.ch.PublishWithDeferredConfirmWithContext(ctx, t.exchange, selfTestWork, false, false, t.message())
	if err != nil {
		return fmt.Errorf("publish a message: %w", err)
	}
	acked, err := confirm.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("wait for a confirm: %w", err)
	}
	if !acked {
		return errors.New("the broker did not confirm a message")
	}
	return nil
}

// errAbsent says that no message came while everything was in order.
var errAbsent = errors.New("no message came")

// next takes one message. It fails with errAbsent if none comes in time.
func (t *trial) next(ctx context.Context, r *Receiver) (*WorkDelivery, error) {
	if err := r.Credit(1); err != nil {
		return nil, fmt.Errorf("ask for a message: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, selfTestDelay+selfTestPatience)
	defer cancel()
	d, err := r.Receive(limited)
	if err != nil && errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil && t.link.conn.Err() == nil {
		return nil, errAbsent
	}
	return d, err
}

// visible is the message that the queue has to hand over now, nil if it has none.
func (t *trial) visible(ctx context.Context, r *Receiver) (*WorkDelivery, error) {
	if err := r.Credit(1); err != nil {
		return nil, fmt.Errorf("ask for a message: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, selfTestPatience)
	defer cancel()
	if err := r.Drain(limited); err != nil {
		return nil, fmt.Errorf("take credit back: %w", err)
	}
	return r.Prefetched(), nil
}

// tryModified puts the message off, as a retry does.
func (t *trial) tryModified(ctx context.Context, r *Receiver, d *WorkDelivery) (*WorkDelivery, error) {
	t.trying = settleModified
	at := time.Now().Add(selfTestDelay)
	history := &brokerv1.AttemptHistory{Attempts: []*brokerv1.PastAttempt{{Attempt: 1}}}
	if err := d.Retry(ctx, Again{At: at, Attempt: 2, Alone: true, History: history}); err != nil {
		return nil, fmt.Errorf("settle as %s: %w", settleModified, err)
	}
	wanted := fmt.Sprintf("it is invisible for %s, then delivered", selfTestDelay)
	early, err := t.visible(ctx, r)
	if err != nil {
		return nil, err
	}
	if early != nil && time.Until(at) > selfTestSkew {
		return nil, &SettlementError{settleModified, wanted, "it was delivered at once", true}
	}
	back := early
	if back == nil {
		if back, err = t.next(ctx, r); errors.Is(err, errAbsent) {
			return nil, &SettlementError{settleModified, wanted, fmt.Sprintf("it did not come within %s", selfTestDelay+selfTestPatience), false}
		} else if err != nil {
			return nil, err
		}
	}
	if late := time.Since(at); late < -selfTestSkew || late > selfTestPatience {
		return nil, &SettlementError{settleModified, wanted, fmt.Sprintf(
			"it came after %s; do the clocks of the broker and of this machine agree?", (selfTestDelay + late).Round(time.Millisecond)), true}
	}
	return back, t.compare(settleModified, back, trialState{attempt: 2, acquired: 2, settled: 1, alone: true, history: 1})
}

// tryReleased gives the message back, as a drain does.
func (t *trial) tryReleased(ctx context.Context, r *Receiver, d *WorkDelivery) (*WorkDelivery, error) {
	t.trying = settleReleased
	began := time.Now()
	if err := d.Release(ctx); err != nil {
		return nil, fmt.Errorf("settle as %s: %w", settleReleased, err)
	}
	const wanted = "it is delivered again at once"
	back, err := t.next(ctx, r)
	if errors.Is(err, errAbsent) {
		return nil, &SettlementError{settleReleased, wanted, fmt.Sprintf("it did not come within %s", selfTestDelay+selfTestPatience), false}
	} else if err != nil {
		return nil, err
	}
	if took := time.Since(began); took > selfTestPatience {
		return nil, &SettlementError{settleReleased, wanted, fmt.Sprintf("it came after %s", took.Round(time.Millisecond)), true}
	}
	return back, t.compare(settleReleased, back, trialState{attempt: 2, acquired: 3, settled: 1, alone: true, history: 1})
}

// trialState is what a delivery says of what has happened to it.
type trialState struct {
	id                string
	body              string
	header            string
	attempt           int
	acquired, settled int64
	failed            int64
	alone             bool
	history           int
}

// compare checks a message that came back.
func (t *trial) compare(settlement string, d *WorkDelivery, wanted trialState) error {
	m := t.message()
	wanted.id, wanted.body, wanted.header = m.MessageId, string(m.Body), fmt.Sprint(m.Headers[headerSelfTest])
	found := trialState{
		body: string(d.Body()), header: fmt.Sprint(d.m.ApplicationProperties[headerSelfTest]),
		attempt: d.Attempt(), acquired: d.Acquired(), settled: d.Settled(), failed: d.failedInAll(),
		alone: d.Alone(), history: len(d.History().Attempts),
	}
	if d.m.Properties != nil {
		found.id, _ = d.m.Properties.MessageID.(string)
	}
	if found != wanted {
		return &SettlementError{settlement, fmt.Sprintf("it comes back as %+v", wanted), fmt.Sprintf("%+v", found), false}
	}
	return nil
}

// tryUndeliverable gives the message up, as a death does.
func (t *trial) tryUndeliverable(ctx context.Context, d *WorkDelivery) error {
	t.trying = settleUndeliverable
	deaths, err := t.ch.ConsumeWithContext(ctx, t.dead, "", true, false, false, wait, nil)
	if err != nil {
		return fmt.Errorf("consume dead letters: %w", err)
	}
	death := Death{Cause: task.CausePermanentFailure, Failure: &task.Failure{Code: int(code.Code_INTERNAL), Message: "self-test"}, Decision: "self-test", Attempt: 2}
	if err := d.DeadLetter(ctx, death); err != nil {
		return fmt.Errorf("settle as %s: %w", settleUndeliverable, err)
	}
	timer := time.NewTimer(selfTestPatience)
	defer timer.Stop()
	select {
	case dead, open := <-deaths:
		if !open {
			return errors.New("the connection was lost")
		}
		return t.compareDead(dead, death)
	case <-timer.C:
		return &SettlementError{settleUndeliverable, "it is dead-lettered", fmt.Sprintf("it was not within %s", selfTestPatience), false}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// compareDead checks the dead letter: as it was published, with what its
// settlements have annotated as headers.
func (t *trial) compareDead(d amqp091.Delivery, death Death) error {
	annotated, err := death.annotations()
	if err != nil {
		return err
	}
	m := t.message()
	fields := map[string][2]any{
		"message id":    {m.MessageId, d.MessageId},
		"type":          {m.Type, d.Type},
		"content type":  {m.ContentType, d.ContentType},
		"priority":      {m.Priority, d.Priority},
		"body":          {m.Body, d.Body},
		"reason":        {"rejected", d.Headers["x-first-death-reason"]},
		headerSelfTest:  {m.Headers[headerSelfTest], d.Headers[headerSelfTest]},
		annotationAlone: {int64(1), d.Headers[annotationAlone]},
	}
	for key, value := range annotated {
		name := fmt.Sprint(key)
		fields[name] = [2]any{value, d.Headers[name]}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		// An annotation's bytes are text as a header of AMQP 0-9-1.
		if wanted, found := asText(fields[name][0]), asText(fields[name][1]); wanted != found {
			return &SettlementError{
				settleUndeliverable, fmt.Sprintf("the dead letter has %s %q", name, wanted), fmt.Sprintf("%q", found), false,
			}
		}
	}
	return nil
}

func asText(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

// tryAccepted accepts another message, as a success does. A new receiver would
// be given what is not gone.
func (t *trial) tryAccepted(ctx context.Context, r *Receiver) error {
	t.trying = settleAccepted
	if err := t.publish(ctx); err != nil {
		return err
	}
	d, err := t.next(ctx, r)
	if err != nil {
		return fmt.Errorf("take a message: %w", err)
	}
	if err := d.Accept(ctx); err != nil {
		return fmt.Errorf("settle as %s: %w", settleAccepted, err)
	}
	if err := r.Close(ctx); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	again, err := t.link.receive(ctx, t.source)
	if err != nil {
		return err
	}
	left, err := t.visible(ctx, again)
	if err != nil {
		return err
	}
	if left != nil {
		return &SettlementError{settleAccepted, "it is gone", "it was delivered again", false}
	}
	return nil
}

package broker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// How long what workers and gateways say to each other is worth reading.
const (
	// RequestTTL is that of a worker's request; the worker repeats it as often.
	RequestTTL = 5 * time.Second
	beatTTL    = 10 * time.Second
	controlTTL = 30 * time.Second
)

// PublishRequest asks any gateway something. [ErrUnroutable] says that no
// gateway has declared the queue yet.
func (p *Publisher) PublishRequest(ctx context.Context, r *brokerv1.WorkerRequest) error {
	return p.publishProto(ctx, p.names.Announce(), keyRequest, true, RequestTTL, r)
}

// PublishHeartbeat tells every gateway that a worker lives.
func (p *Publisher) PublishHeartbeat(ctx context.Context, h *brokerv1.Heartbeat) error {
	return p.publishProto(ctx, p.names.Announce(), keyBeat, false, beatTTL, h)
}

// PublishControl tells one worker something. That it is gone is no error.
func (p *Publisher) PublishControl(ctx context.Context, workerID string, m *brokerv1.ControlMessage) error {
	return p.publishProto(ctx, p.names.Control(), keyWorker(workerID), false, controlTTL, m)
}

// PublishControlType tells all workers of a task type something. That there are
// none is no error.
func (p *Publisher) PublishControlType(ctx context.Context, taskType string, m *brokerv1.ControlMessage) error {
	return p.publishProto(ctx, p.names.Control(), keyType(taskType), false, controlTTL, m)
}

func (p *Publisher) publishProto(ctx context.Context, exchange, key string, mandatory bool, ttl time.Duration, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return p.publish(ctx, exchange, key, mandatory, amqp091.Publishing{
		MessageId:    uuid.NewString(),
		ContentType:  contentType,
		DeliveryMode: amqp091.Persistent,
		Expiration:   strconv.FormatInt(ttl.Milliseconds(), 10),
		Body:         body,
	})
}

// PublishDead puts a task straight into the dead-letter queue, as if a worker
// had given it up, if a check that is passed allows it.
func (p *Publisher) PublishDead(ctx context.Context, m *TaskMessage, death Death, check ...Check) error {
	msg, err := m.publishing()
	if err != nil {
		return err
	}
	annotations, err := death.annotations()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	for k, v := range annotations {
		msg.Headers[fmt.Sprint(k)] = v
	}
	msg.Expiration = ""
	out := newOutgoing(p.names.Dead(), m.Type, true, msg)
	if len(check) > 0 {
		out.check = check[0]
	}
	return p.send(ctx, out)
}

// PublishParked puts a message that nobody can read into the dead-letter
// queue, with what is wrong with it.
func (p *Publisher) PublishParked(ctx context.Context, body []byte, problem string) error {
	return p.publish(ctx, p.names.Dead(), p.names.Status(), true, amqp091.Publishing{
		MessageId:    uuid.NewString(),
		ContentType:  contentType,
		DeliveryMode: amqp091.Persistent,
		Headers:      amqp091.Table{annotationCause: "UNDECODABLE", "warren-problem": problem},
		Body:         body,
	})
}

package broker

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// meters are what a connection, and what publishes on it, measure.
type meters struct {
	connected   metric.Int64Gauge
	reconnects  metric.Int64Counter
	blocked     metric.Int64Gauge
	blockedTime metric.Float64Counter
	publish     metric.Float64Histogram
	// role has the attributes of the connection; publishes of what was published.
	role      *telemetry.LabelSet
	publishes *telemetry.Labels[publishKey]
}

// publishKey is what a publish is counted under: exchanges are a handful.
type publishKey struct {
	exchange string
	err      publishErr
}

// publishErr is how a publish failed, empty for not at all.
type publishErr string

const (
	publishUnroutable publishErr = "unroutable"
	publishNacked     publishErr = "nacked"
	publishNotSent    publishErr = "not_sent"
	publishTimeout    publishErr = "timeout"
	publishUnknown    publishErr = "unknown"
)

// defaultExchange stands for the exchange without a name.
const defaultExchange = "amq.default"

func newMeters(provider metric.MeterProvider, role string) *meters {
	m := telemetry.NewMeter(provider, "github.com/warrenmq/warren/pkg/broker")
	return &meters{
		connected:   m.Gauge("warren.broker.connected", "{connection}", "1 while the connection to RabbitMQ works, else 0."),
		reconnects:  m.Counter("warren.broker.reconnects", "{reconnect}", "How often a connection to RabbitMQ was opened anew."),
		blocked:     m.Gauge("warren.broker.blocked", "{connection}", "1 while RabbitMQ takes nothing on the connection, because of a resource alarm, else 0."),
		blockedTime: m.Seconds("warren.broker.blocked.time", "For how long RabbitMQ has taken nothing on the connection."),
		publish:     m.Durations("messaging.client.operation.duration", "Time from a publish to its confirm, or to the knowledge that there is none."),
		role:        telemetry.NewLabelSet(telemetry.ConnectionKey.String(role)),
		publishes:   telemetry.NewLabels(publishAttributes),
	}
}

func publishAttributes(k publishKey) []attribute.KeyValue {
	if k.exchange == "" {
		k.exchange = defaultExchange
	}
	attributes := []attribute.KeyValue{
		semconv.MessagingOperationName("publish"), semconv.MessagingSystemRabbitMQ, semconv.MessagingDestinationName(k.exchange),
	}
	if k.err != "" {
		attributes = append(attributes, semconv.ErrorTypeKey.String(string(k.err)))
	}
	return attributes
}

// begin shows a connection before it is there: its counters begin at 0.
func (m *meters) begin() {
	ctx := context.Background()
	m.connected.Record(ctx, 0, m.role.Record...)
	m.reconnects.Add(ctx, 0, m.role.Add...)
}

// up says that the connection works, again or for the first time.
func (m *meters) up(again bool) {
	ctx := context.Background()
	m.connected.Record(ctx, 1, m.role.Record...)
	if again {
		m.reconnects.Add(ctx, 1, m.role.Add...)
	}
}

// down says that the connection does not work.
func (m *meters) down() { m.connected.Record(context.Background(), 0, m.role.Record...) }

// setBlocked says whether the broker has blocked the connection.
func (m *meters) setBlocked(blocked bool) {
	n := int64(0)
	if blocked {
		n = 1
	}
	m.blocked.Record(context.Background(), n, m.role.Record...)
}

// wasBlocked adds to the time that the connection was blocked.
func (m *meters) wasBlocked(d time.Duration) {
	m.blockedTime.Add(context.Background(), d.Seconds(), m.role.Add...)
}

// published counts a message that was to be published, and how long that took.
func (m *meters) published(ctx context.Context, exchange string, took time.Duration, err error) {
	m.publish.Record(ctx, took.Seconds(), m.publishes.Of(publishKey{exchange, publishErrOf(err)}).Record...)
}

func publishErrOf(err error) publishErr {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrUnroutable):
		return publishUnroutable
	case errors.Is(err, ErrNotSent):
		return publishNotSent
	case errors.Is(err, errNacked):
		return publishNacked
	case errors.Is(err, errNotConfirmed):
		return publishTimeout
	}
	return publishUnknown
}

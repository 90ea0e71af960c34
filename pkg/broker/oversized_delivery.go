package broker

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	amqp "github.com/Azure/go-amqp"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

const (
	// headerOmitted says what a rescued message has lost.
	headerOmitted = "warren-omitted"
	// maxRescuedHeaders bounds the headers that a rescued message keeps, in bytes:
	// as much as a message that needs no rescue can have.
	maxRescuedHeaders = 128 << 10
)

// keptFirst are the headers that a task lives by.
var keptFirst = append([]string{
	headerTask, annotationCause, "x-death", "x-last-death-reason", "x-last-death-queue", "x-last-death-exchange",
	annotationTry, annotationCount, annotationTaken, annotationPutOffFrom, annotationPutOffTo, annotationDecision, annotationFail, annotationHistory, "x-acquired-count", headerProblem,
}, traceHeaders...)

// rescuedDelivery is the message as it would have come over AMQP 0-9-1, but for
// headers beyond the bound.
// https://www.rabbitmq.com/docs/conversions
func rescuedDelivery(w *WorkDelivery) Delivery {
	m := w.m
	text := func(key string) string {
		s, _ := m.Annotations[key].(string)
		return s
	}
	d := Delivery{
		Body: w.Body(), Headers: keepHeaders(headersOverLink(m)),
		Exchange: text("x-exchange"), RoutingKey: text("x-routing-key"), Type: text("x-basic-type"),
	}
	if len(m.Data) == 0 && (m.Value != nil || len(m.Sequence) > 0) {
		d.Body, d.Type = structuredBody(m), "amqp-1.0"
	}
	if h := m.Header; h != nil {
		d.Redelivered, d.Priority = !h.FirstAcquirer || h.DeliveryCount > 0, h.Priority
		if h.Durable {
			d.DeliveryMode = amqp091.Persistent
		}
		if h.TTL > 0 {
			d.Expiration = strconv.FormatInt(h.TTL.Milliseconds(), 10)
		}
	}
	if p := m.Properties; p != nil {
		d.MessageID, d.CorrelationID, d.UserID = idText(p.MessageID), idText(p.CorrelationID), string(p.UserID)
		d.ContentType, d.ContentEncoding = orEmpty(p.ContentType), orEmpty(p.ContentEncoding)
		d.ReplyTo, d.AppID, d.Timestamp = orEmpty(p.ReplyTo), orEmpty(p.GroupID), orEmpty(p.CreationTime)
	}
	return d
}

// structuredBody is the encoding of a body that is not just bytes.
func structuredBody(m *amqp.Message) []byte {
	body := amqp.Message{Value: m.Value, Sequence: m.Sequence}
	b, err := body.MarshalBinary()
	if err != nil {
		return fmt.Append(nil, m.Value, m.Sequence)
	}
	return b
}

func orEmpty[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func idText(v any) string {
	if v == nil {
		return ""
	}
	if b := bytesOf(v); b != nil {
		return string(b)
	}
	return fmt.Sprint(v)
}

// headersOverLink are those that the message would have over AMQP 0-9-1.
func headersOverLink(m *amqp.Message) map[string]any {
	headers := make(map[string]any, len(m.ApplicationProperties)+len(m.Annotations))
	for k, v := range m.ApplicationProperties {
		headers[k] = v
	}
	for k, v := range m.Annotations {
		switch k := fmt.Sprint(k); k {
		case "x-exchange", "x-routing-key", "x-basic-type":
		case "x-opt-deaths":
			headers["x-death"] = deathsOf(v)
		default:
			headers[k] = v
		}
	}
	return headers
}

// deathsOf is `x-death` of what AMQP 1.0 has for it.
func deathsOf(v any) any {
	deaths, ok := v.([]map[any]any)
	if !ok {
		return v
	}
	entries := make([]any, len(deaths))
	for i, d := range deaths {
		entry := amqp091.Table{}
		for k, v := range d {
			entry[fmt.Sprint(k)] = v
		}
		if keys, ok := d["routing-keys"].([]string); ok {
			texts := make([]any, len(keys))
			for i, k := range keys {
				texts[i] = k
			}
			entry["routing-keys"] = texts
		}
		if t, ok := d["last-time"].(time.Time); ok {
			entry["time"] = t
		}
		entries[i] = entry
	}
	return entries
}

// keepHeaders keeps what fits into the bound, [keptFirst] first.
func keepHeaders(all map[string]any) map[string]any {
	kept, size, omitted, lost := make(map[string]any, len(all)), 0, 0, 0
	for _, k := range inOrder(all) {
		n := len(k) + sizeOf(all[k])
		if size+n > maxRescuedHeaders {
			omitted, lost = omitted+1, lost+n
			continue
		}
		kept[k] = all[k]
		size += n
	}
	if omitted > 0 {
		kept[headerOmitted] = fmt.Sprintf("headers: %d, of %d bytes", omitted, lost)
	}
	return kept
}

// inOrder is by what a task needs, then by name.
func inOrder(headers map[string]any) []string {
	var names, others []string
	for _, k := range keptFirst {
		if _, ok := headers[k]; ok {
			names = append(names, k)
		}
	}
	for k := range headers {
		if !slices.Contains(keptFirst, k) {
			others = append(others, k)
		}
	}
	slices.Sort(others)
	return append(names, others...)
}

// sizeOf is about what the value takes.
func sizeOf(v any) int {
	if b := bytesOf(v); b != nil {
		return len(b)
	}
	return len(fmt.Sprint(v))
}

package broker

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	stdutf8 "unicode/utf8"
)

// maxShownValue bounds a property or header as people see it, in bytes. The
// broker bounds how many there are.
const maxShownValue = 16 << 10

// propertiesOf are the AMQP properties that are set.
func propertiesOf(d *Delivery) map[string]string {
	set := map[string]string{}
	for name, value := range map[string]string{
		"content-type": d.ContentType, "content-encoding": d.ContentEncoding, "correlation-id": d.CorrelationID,
		"reply-to": d.ReplyTo, "expiration": d.Expiration, "message-id": d.MessageID, "type": d.Type,
		"user-id": d.UserID, "app-id": d.AppID,
	} {
		if value != "" {
			set[name] = shown(value)
		}
	}
	for name, value := range map[string]uint8{"delivery-mode": d.DeliveryMode, "priority": d.Priority} {
		if value != 0 {
			set[name] = strconv.Itoa(int(value))
		}
	}
	if !d.Timestamp.IsZero() {
		set["timestamp"] = d.Timestamp.UTC().Format(time.RFC3339)
	}
	return set
}

// headersOf are the AMQP headers. What is no text, by its type or its bytes, is
// JSON, in which bytes are base64.
func headersOf(headers map[string]any) map[string]string {
	texts := make(map[string]string, len(headers))
	for name, value := range headers {
		texts[utf8(name)] = headerText(value)
	}
	return texts
}

func headerText(value any) string {
	if s, ok := value.(string); ok {
		if stdutf8.ValidString(s) {
			return shown(s)
		}
		value = []byte(s)
	}
	b, err := json.Marshal(value)
	if err != nil {
		// JSON has no NaN, and no year 10000.
		return shown(fmt.Sprint(value))
	}
	return shown(string(b))
}

func shown(s string) string {
	if s = utf8(s); len(s) <= maxShownValue {
		return s
	}
	return shorten(s, maxShownValue) + "…"
}

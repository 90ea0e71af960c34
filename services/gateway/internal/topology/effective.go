package topology

import (
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/broker/management"
)

// Settings of queues, as policies call them. As arguments they have an x- in
// front.
const (
	settingDeadLetter      = "dead-letter-exchange"
	settingDeadKey         = "dead-letter-routing-key"
	settingDeadStrategy    = "dead-letter-strategy"
	settingOverflow        = "overflow"
	settingDeliveryLimit   = "delivery-limit"
	settingConsumerTimeout = "consumer-timeout"
	settingTTL             = "message-ttl"
	settingMaxLength       = "max-length"
	settingMaxBytes        = "max-length-bytes"
	settingExpires         = "expires"
	settingRetry           = "delayed-retry-type"
	settingRetryMin        = "delayed-retry-min"
	settingSingleActive    = "single-active-consumer"
	settingAlternate       = "alternate-exchange"
)

// Defaults of a quorum queue.
const (
	defaultOverflow        = "drop-head"
	rejectPublish          = "reject-publish"
	defaultStrategy        = "at-most-once"
	defaultDeliveryLimit   = 20
	defaultConsumerTimeout = 30 * time.Minute
)

// inForce is what arguments and policies of a quorum queue make together. Which
// of both wins is another rule for each setting, those of RabbitMQ 4.3's
// rabbit_quorum_queue and rabbit_queue_type. An operator's policy is part of the
// effective policy already.
type inForce struct{ management.Queue }

// both are the argument and the policy's value, nil for none.
func (q inForce) both(setting string) (argument, policy any) {
	return q.Arguments["x-"+setting], q.Effective[setting]
}

// smaller is the smaller of both, as for all limits and times.
func (q inForce) smaller(setting string) (int64, bool) {
	argument, policy := q.both(setting)
	a, hasArgument := number(argument)
	p, hasPolicy := number(policy)
	if hasArgument && hasPolicy {
		return min(a, p), true
	}
	return a + p, hasArgument || hasPolicy
}

// deliveryLimit is the smaller of both, but the larger if either is negative,
// which is no limit.
func (q inForce) deliveryLimit() int64 {
	argument, policy := q.both(settingDeliveryLimit)
	a, hasArgument := number(argument)
	p, hasPolicy := number(policy)
	switch {
	case hasArgument && hasPolicy && (a < 0 || p < 0):
		return max(a, p)
	case hasArgument && hasPolicy:
		return min(a, p)
	case hasArgument || hasPolicy:
		return a + p
	}
	return defaultDeliveryLimit
}

// consumerTimeout is how long a consumer may hold a delivery.
func (q inForce) consumerTimeout() time.Duration {
	if ms, ok := q.smaller(settingConsumerTimeout); ok {
		return time.Duration(ms) * time.Millisecond
	}
	return defaultConsumerTimeout
}

// argumentFirst is the argument, else the policy's value, as for dead-lettering.
func (q inForce) argumentFirst(setting string) string {
	argument, policy := q.both(setting)
	if argument != nil {
		return fmt.Sprint(argument)
	}
	return text(policy)
}

// overflow is the policy's, else the argument. Anything but reject-publish acts
// as drop-head.
func (q inForce) overflow() string {
	argument, policy := q.both(settingOverflow)
	value := text(argument)
	if policy != nil {
		value = text(policy)
	}
	if value == "" {
		return defaultOverflow
	}
	return value
}

// strategy is that of dead-lettering. Without reject-publish, at-least-once
// silently is at-most-once.
func (q inForce) strategy() string {
	if s := q.argumentFirst(settingDeadStrategy); s != "" {
		return s
	}
	return defaultStrategy
}

// retried says which returned messages wait, and how long at least; empty for
// none.
func (q inForce) retried() string {
	argument, policy := q.both(settingRetry)
	kind := text(argument)
	if policy != nil {
		kind = text(policy)
	}
	least, ok := q.smaller(settingRetryMin)
	if kind == "" || kind == "disabled" || !ok || least <= 0 {
		return ""
	}
	return fmt.Sprintf("%s, from %s", kind, time.Duration(least)*time.Millisecond)
}

func number(v any) (int64, bool) {
	f, ok := v.(float64)
	return int64(f), ok
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

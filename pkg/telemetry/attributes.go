package telemetry

import "go.opentelemetry.io/otel/attribute"

// Attributes of Warren's own, of spans and metrics. On a metric each has few values:
// none is taken from what users send.
const (
	// TaskTypeKey is a task type of the catalogue, of others [UnknownType].
	TaskTypeKey = attribute.Key("warren.task.type")
	// RunKey and AttemptKey count, from 1; of spans only.
	RunKey     = attribute.Key("warren.task.run")
	AttemptKey = attribute.Key("warren.task.attempt")
	// QueueTimeKey is how long an attempt's message was in its queue since it was due,
	// RetryWaitKey the time between two attempts, RetryDelayKey the delay that was
	// decided on after one, each in seconds; DecisionKey what was decided, and why, for
	// people; all of spans only.
	QueueTimeKey  = attribute.Key("warren.task.queue.time")
	RetryWaitKey  = attribute.Key("warren.task.retry.wait")
	RetryDelayKey = attribute.Key("warren.task.retry.delay")
	DecisionKey   = attribute.Key("warren.task.decision")
	// ScheduleKey is a schedule's id; of spans only.
	ScheduleKey = attribute.Key("warren.schedule.id")
	// StateKey is the name of a task's or dead letter's state, such as SUCCEEDED.
	StateKey = attribute.Key("warren.state")
	// ResidenceKey is how long dead letters have waited, against their type's objective:
	// warn or breach.
	ResidenceKey = attribute.Key("warren.residence")
	// OutcomeKey is how something ended, in one lower-case word.
	OutcomeKey = attribute.Key("warren.outcome")
	// CauseKey is the name of a dead letter's cause, such as ATTEMPTS_EXHAUSTED.
	CauseKey = attribute.Key("warren.cause")
	// ChannelKey is a configured channel of notifications, ChannelKindKey its kind, such as
	// smtp.
	ChannelKey     = attribute.Key("warren.channel")
	ChannelKindKey = attribute.Key("warren.channel.kind")
	// ConnectionKey is what a connection to the broker is for.
	ConnectionKey = attribute.Key("warren.connection")
	// StoreKey is whose store it is: gateway or deadletter.
	StoreKey = attribute.Key("warren.store")
	// OperationKey is what a store was asked for.
	OperationKey = attribute.Key("warren.operation")
)

// UnknownType stands for task types that the catalogue does not have.
const UnknownType = "unknown"

// SecondsBuckets are the boundaries of all histograms in seconds: from a confirm by the
// broker to a task of half an hour.
var SecondsBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}

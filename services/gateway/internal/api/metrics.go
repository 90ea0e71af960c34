package api

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// metrics are what the task service measures.
type metrics struct {
	catalogue *catalogue.Catalogue
	submitted metric.Int64Counter
	watchers  metric.Int64UpDownCounter
	labels    *telemetry.Labels[submittedKey]
}

// submittedKey is what a submission is counted under.
type submittedKey struct {
	taskType string
	outcome  submitOutcome
	// refused is why, for those that were.
	refused code.Code
}

// submitOutcome is what has become of a submission.
type submitOutcome string

const (
	submitAccepted  submitOutcome = "accepted"
	submitScheduled submitOutcome = "scheduled"
	submitRepeated  submitOutcome = "repeated"
	submitRefused   submitOutcome = "refused"
)

func newMetrics(cfg *Config) *metrics {
	m := telemetry.NewMeter(cfg.MeterProvider, "github.com/warrenmq/warren/services/gateway/internal/api")
	return &metrics{
		catalogue: cfg.Catalogue,
		submitted: m.Counter("warren.task.submitted", "{task}",
			"Submissions by callers, by what became of them. What schedules submit is counted as their firings."),
		watchers: m.UpDownCounter("warren.watchers", "{watcher}", "Calls of WatchTask and WatchTasks that are open."),
		labels:   telemetry.NewLabels(submittedKey.attributes),
	}
}

func (k submittedKey) attributes() []attribute.KeyValue {
	attributes := []attribute.KeyValue{telemetry.TaskTypeKey.String(k.taskType), telemetry.OutcomeKey.String(string(k.outcome))}
	if k.outcome == submitRefused {
		attributes = append(attributes, semconv.ErrorTypeKey.String(k.refused.String()))
	}
	return attributes
}

// answered counts a submission of a task of a type, by its answer.
func (m *metrics) answered(ctx context.Context, taskType string, answer *taskv1.SubmitTaskResponse, err error) {
	k := submittedKey{taskType: telemetry.UnknownType}
	if t, known := m.catalogue.Type(taskType); known {
		k.taskType = t.Name // of which there are several spellings
	}
	switch {
	case err != nil:
		k.outcome, k.refused = submitRefused, knownCode(status.Code(err))
	case answer.GetAlreadySubmitted():
		k.outcome = submitRepeated
	case answer.GetTask().GetState() == taskv1.TaskState_TASK_STATE_SCHEDULED:
		k.outcome = submitScheduled
	default:
		k.outcome = submitAccepted
	}
	m.submitted.Add(ctx, 1, m.labels.Of(k).Add...)
}

// batchAnswered counts the submissions of a batch.
func (m *metrics) batchAnswered(ctx context.Context, requests []*taskv1.SubmitTaskRequest, results []*taskv1.BatchSubmitTasksResult) {
	for i, r := range results {
		var err error
		if r.GetError() != nil {
			err = status.FromProto(r.GetError()).Err()
		}
		m.answered(ctx, requests[i].GetType(), r.GetResponse(), err)
	}
}

// knownCode is UNKNOWN for what gRPC has no code for.
func knownCode[C ~uint32](c C) code.Code {
	if _, ok := code.Code_name[int32(c)]; !ok {
		return code.Code_UNKNOWN
	}
	return code.Code(c)
}

// watching counts a watcher until what it returns is called.
func (m *metrics) watching(ctx context.Context) (done func()) {
	m.watchers.Add(ctx, 1)
	return func() { m.watchers.Add(ctx, -1) }
}

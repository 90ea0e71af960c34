package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// series are the values of metrics by their names and attributes; of a histogram, how
// many were recorded.
func series(t testing.TB, reader sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	found := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			note := func(set attribute.Set, n int64) {
				found[m.Name+" "+set.Encoded(attribute.DefaultEncoder())] += n
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					note(p.Attributes, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					note(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				require.Equal(t, "s", m.Unit)
				for _, p := range data.DataPoints {
					note(p.Attributes, int64(p.Count))
				}
			}
		}
	}
	return found
}

func TestAWorkerMeasuresWhatItDoes(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	reader := sdkmetric.NewManualReader()
	release := make(chan struct{})
	begun := make(chan struct{}, 2)
	_, stop := run(t, &faults{
		delay: func(context.Context) error {
			begun <- struct{}{}
			<-release
			return nil
		},
		fail: func(context.Context) error { return status.Error(grpccodes.NotFound, "no such picture") },
	}, Config{AMQPURLs: []string{b.URL}, Concurrency: 3, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	ids := []string{g.Submit(t, typeDelay), g.Submit(t, typeDelay)}
	await(t, begun)
	await(t, begun)
	died := g.Submit(t, typeFail, func(m *broker.TaskMessage) { m.Retry = &taskv1.RetryPolicy{MaxAttempts: 1} })
	g.Await(t, died, task.PhaseDeadLettered)
	while := series(t, reader)
	require.Equal(t, int64(2), while["warren.worker.running warren.task.type="+typeDelay])
	require.Equal(t, int64(3), while["warren.worker.concurrency warren.task.type="+typeDelay])
	require.Equal(t, int64(0), while["warren.worker.stuck warren.task.type="+typeDelay])
	require.Equal(t, int64(1), while["warren.worker.admitted "])
	require.Equal(t, int64(1), while["warren.broker.connected warren.connection=work"])
	close(release)
	for _, id := range ids {
		g.Await(t, id, task.PhaseSucceeded)
	}
	const ofDelay = "messaging.destination.name=warren.tasks,messaging.operation.name=process,messaging.system=rabbitmq,warren.task.type=" + typeDelay
	const ofFail = "error.type=NOT_FOUND,messaging.destination.name=warren.tasks,messaging.operation.name=process,messaging.system=rabbitmq,warren.task.type=" + typeFail
	for name, want := range map[string]int64{
		"messaging.process.duration " + ofDelay: 2, "messaging.process.duration " + ofFail: 1,
		"warren.worker.attempts warren.outcome=succeeded,warren.task.type=" + typeDelay: 2,
		"warren.worker.attempts warren.outcome=failed,warren.task.type=" + typeFail:     1,
		"warren.worker.running warren.task.type=" + typeFail:                            0,
	} {
		require.Equal(t, want, series(t, reader)[name], name)
	}
	stop()
	require.NotContains(t, series(t, reader), "warren.worker.admitted ", "who has ended is not observed")
}

// ends are the last events of executions.
var ends = map[string]struct {
	event   task.Event
	outcome string
	code    string
}{
	"succeeded": {task.Event{Key: task.Key{Phase: task.PhaseSucceeded}}, "succeeded", "OK"},
	"retried":   {task.Event{Key: task.Key{Phase: task.PhaseRetrying}, Failure: &task.Failure{Code: 14}}, "failed", "UNAVAILABLE"},
	"snoozed":   {task.Event{Key: task.Key{Phase: task.PhaseRetrying}}, "released", "OK"},
	"dead":      {task.Event{Key: task.Key{Phase: task.PhaseDeadLettered}, Failure: &task.Failure{Code: 3}}, "failed", "INVALID_ARGUMENT"},
	"odd code":  {task.Event{Key: task.Key{Phase: task.PhaseDeadLettered}, Failure: &task.Failure{Code: 4711}}, "failed", "UNKNOWN"},
	"cancelled": {task.Event{Key: task.Key{Phase: task.PhaseCancelled}, Failure: &task.Failure{Code: 1}}, "cancelled", "CANCELLED"},
	"released":  {task.Event{Key: task.Key{Phase: task.PhaseReleased}}, "released", "CANCELLED"},
	"lost":      {task.Event{Key: task.Key{Phase: task.PhaseLost}}, "lost", "CANCELLED"},
}

func TestOutcomesAndErrors(t *testing.T) {
	t.Parallel()
	for name, end := range ends {
		require.Equal(t, end.outcome, endingOf(&end.event).String(), name)
		require.Equal(t, end.code, codeOf(&end.event).String(), name)
	}
}

// Whatever tasks bring, a type has as many series as there are codes and outcomes.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	m, err := newMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	require.NoError(t, err)
	of := m.of("warren.tasks", typeDelay)
	for i := range 10_000 {
		e := &task.Event{
			TaskID: task.NewID(), WorkerID: fmt.Sprint(i), Key: task.Key{Phase: task.PhaseDeadLettered},
			Failure: &task.Failure{Code: i - 5000, Message: fmt.Sprint("error ", i)},
		}
		of.handled(time.Duration(i)*time.Millisecond, e)
		of.ended(e)
	}
	require.LessOrEqual(t, len(series(t, reader)), codeCount+int(endings))
}

// Nothing is allocated for an attempt, whether somebody reads the metrics or not.
func TestMeasuringAllocatesNothing(t *testing.T) {
	for name, provider := range map[string]metric.MeterProvider{
		"off": noop.NewMeterProvider(), "on": sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
	} {
		m, err := newMetrics(provider)
		require.NoError(t, err)
		of := m.of("warren.tasks", typeDelay)
		events := []task.Event{}
		for _, end := range ends {
			events = append(events, end.event)
		}
		require.Zero(t, testing.AllocsPerRun(100, func() {
			for i := range events {
				of.handled(time.Second, &events[i])
				of.ended(&events[i])
			}
		}), name)
	}
}

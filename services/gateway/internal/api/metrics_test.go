package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
)

const submittedMetric = "warren.task.submitted"

func submittedSeries(outcome submitOutcome, refused code.Code, taskType string) string {
	series := "warren.outcome=" + string(outcome) + ",warren.task.type=" + taskType
	if outcome == submitRefused {
		series = "error.type=" + refused.String() + "," + series
	}
	return series
}

// measure has a service measured.
func measure(s *TaskService) *metrictest.Metrics {
	m := metrictest.New()
	cfg := s.cfg
	cfg.MeterProvider = m.Provider()
	s.metrics = newMetrics(&cfg)
	return m
}

func TestMetricsOfSubmissions(t *testing.T) {
	t.Parallel()
	service, _, _ := newBrokerService(t)
	m := measure(service.TaskService)
	ctx := t.Context()
	for range 3 {
		_, err := service.SubmitTask(ctx, request(t))
		require.NoError(t, err)
	}
	later := request(t)
	later.TaskId, later.Delay = task.NewID(), durationpb.New(time.Hour)
	for range 2 {
		_, err := service.SubmitTask(ctx, later)
		require.NoError(t, err)
	}
	bad, stray := request(t), request(t)
	bad.Payload.Value, stray.Type = []byte{255}, "no.Such.Type"
	for _, r := range []*taskv1.SubmitTaskRequest{bad, stray} {
		_, err := service.SubmitTask(ctx, r)
		require.Error(t, err)
	}
	want := map[string]float64{
		submittedSeries(submitAccepted, 0, typeDelay): 3, submittedSeries(submitScheduled, 0, typeDelay): 1, submittedSeries(submitRepeated, 0, typeDelay): 1,
		submittedSeries(submitRefused, code.Code_INVALID_ARGUMENT, typeDelay): 1, submittedSeries(submitRefused, code.Code_NOT_FOUND, "unknown"): 1,
	}
	require.Equal(t, want, m.Series(t, submittedMetric))

	_, err := service.BatchSubmitTasks(ctx, &taskv1.BatchSubmitTasksRequest{Requests: []*taskv1.SubmitTaskRequest{request(t), bad, later, stray}})
	require.NoError(t, err)
	want[submittedSeries(submitAccepted, 0, typeDelay)]++
	want[submittedSeries(submitRepeated, 0, typeDelay)]++
	want[submittedSeries(submitRefused, code.Code_INVALID_ARGUMENT, typeDelay)]++
	want[submittedSeries(submitRefused, code.Code_NOT_FOUND, "unknown")]++
	require.Equal(t, want, m.Series(t, submittedMetric))
}

// What callers make up becomes no series, and what a submission counts allocates
// nothing.
func TestMetricsOfSubmissionsAreBounded(t *testing.T) {
	service, _ := newService(t, &fakes{notReady: broker.ErrNotSent})
	m := measure(service)
	for i := range 10_000 {
		r := request(t)
		r.Type, r.TaskId, r.Labels = fmt.Sprintf("stray.v1.S.M%d", i), task.NewID(), map[string]string{"customer": fmt.Sprint(i)}
		_, err := service.SubmitTask(t.Context(), r)
		require.Error(t, err)
	}
	require.Equal(t, map[string]float64{submittedSeries(submitRefused, code.Code_NOT_FOUND, "unknown"): 10_000}, m.Series(t, submittedMetric))
	answer := &taskv1.SubmitTaskResponse{Task: &taskv1.Task{}}
	require.Zero(t, testing.AllocsPerRun(100, func() { service.metrics.answered(context.Background(), typeDelay, answer, nil) }))
}

func TestMetricOfWatchers(t *testing.T) {
	t.Parallel()
	service, _ := newService(t, &fakes{})
	m := measure(service)
	first, second := service.metrics.watching(t.Context()), service.metrics.watching(t.Context())
	require.Equal(t, map[string]float64{"": 2}, m.Series(t, "warren.watchers"))
	first()
	second()
	require.Equal(t, map[string]float64{"": 0}, m.Series(t, "warren.watchers"))
}

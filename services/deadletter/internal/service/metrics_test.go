package service

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

// counting is a store whose changes are counted; the catalogue has acme's types.
func counting(t *testing.T) (signalStore, *metrictest.Metrics) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+file(t), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	m := metrictest.New()
	counted := newMetrics(m.Provider(), s, func(_ context.Context, taskType string) bool { return strings.HasPrefix(taskType, "acme.") })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { counted.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return signalStore{s, func() {}, counted}, m
}

func died(taskType, message string) store.Arrival {
	return store.Arrival{
		ID: task.NewID(), Type: taskType, Message: store.Message{Body: []byte(message)}, Labels: map[string]string{"customer": message},
		Occurrence: store.Occurrence{
			Run: 1, Cause: task.CausePermanentFailure, Failure: &task.Failure{Code: 3, Message: message}, Reason: message, DeadTime: time.Now().Add(-time.Hour),
		},
	}
}

func requireMetric(t *testing.T, m *metrictest.Metrics, name string, want map[string]float64) {
	t.Helper()
	brokertest.Eventually(t, time.Minute, func() error {
		if got := m.Series(t, name); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s is %v, not %v", name, got, want)
		}
		return nil
	})
}

func TestMetricsOfDeadLetters(t *testing.T) {
	t.Parallel()
	s, m := counting(t)
	stray := died("a.routing.key", "x")
	stray.Foreign, stray.Occurrence.Run, stray.Occurrence.Cause = true, 0, task.CauseUndecodable
	likeATask := stray
	likeATask.ID, likeATask.Type = task.NewID(), "acme.v1.Images.Resize"
	one := died("acme.v1.Images.Resize", "a")
	one.Fingerprint = store.Fingerprint{GroupID: "00000000000000000000000000000001", Version: 1}
	for range 2 {
		_, err := s.Put(t.Context(), []store.Arrival{one, died("acme.v1.Images.Crop", "b"), died("stray.v1.A.B", "c"), stray, likeATask})
		require.NoError(t, err)
	}
	const resize, crop, unknown = "warren.task.type=acme.v1.Images.Resize", "warren.task.type=acme.v1.Images.Crop", "warren.task.type=unknown"
	const permanent, undecodable = "warren.cause=PERMANENT_FAILURE,", "warren.cause=UNDECODABLE,"
	want := map[string]float64{permanent + resize: 1, permanent + crop: 2, permanent + unknown: 2, undecodable + unknown: 2}
	requireMetric(t, m, "warren.dead_letter.captured", want)
	requireMetric(t, m, "warren.dead_letter.open", want)
	requireMetric(t, m, "warren.dead_letter.groups", map[string]float64{"warren.state=OPEN": 1})
	ages := m.Series(t, "warren.dead_letter.oldest.age")
	require.Len(t, ages, 3)
	for series, age := range ages {
		require.GreaterOrEqual(t, age, time.Hour.Seconds(), series)
	}
}

func TestMetricsOfReplays(t *testing.T) {
	t.Parallel()
	s, m := counting(t)
	again, fine := died("acme.v1.Images.Resize", "a"), died("acme.v1.Images.Resize", "b")
	_, err := s.Put(t.Context(), []store.Arrival{again, fine})
	require.NoError(t, err)
	for _, id := range []string{again.ID, fine.ID} {
		_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: 2, By: store.Call{Reason: "a test"}})
		require.NoError(t, err)
	}
	again.Occurrence.Run = 2
	for range 2 {
		_, err = s.Put(t.Context(), []store.Arrival{again})
		require.NoError(t, err)
		_, err = s.Resolve(t.Context(), fine.ID, 2, store.OutcomeSucceeded)
		require.NoError(t, err)
	}
	require.Equal(t, map[string]float64{"warren.outcome=failed_again": 1, "warren.outcome=succeeded": 1}, m.Series(t, "warren.dead_letter.replays"))
}

// Whatever tasks, labels, errors and keys there are: none becomes a series.
func TestMetricsOfDeadLettersAreBounded(t *testing.T) {
	t.Parallel()
	s, m := counting(t)
	for page := range 20 {
		arrivals := make([]store.Arrival, 500)
		for i := range arrivals {
			arrivals[i] = died(fmt.Sprintf("acme.v1.S.M%d", i%10), fmt.Sprint(page, i))
			if i%2 == 0 {
				arrivals[i].Type = fmt.Sprintf("stray.v1.S.M%d.%d", page, i)
			}
		}
		_, err := s.Put(t.Context(), arrivals)
		require.NoError(t, err)
	}
	brokertest.Eventually(t, time.Minute, func() error {
		total := 0.0
		for _, n := range m.Series(t, "warren.dead_letter.captured") {
			total += n
		}
		if total != 10_000 {
			return fmt.Errorf("%v are counted", total)
		}
		return nil
	})
	for name, series := range m.All(t) {
		require.LessOrEqual(t, len(series), 6, name)
	}
}

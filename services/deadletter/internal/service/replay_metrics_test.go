package service

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

func TestMetricsOfReplayItems(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), "sqlite:"+file(t), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for range 3 {
		a := died("acme.v1.A.B", "x")
		a.ID = task.NewID()
		_, err := s.Put(t.Context(), []store.Arrival{a})
		require.NoError(t, err)
	}
	set, err := s.Select(t.Context(), store.FreezeRequest{})
	require.NoError(t, err)
	r, err := s.CreateReplay(t.Context(), store.NewReplay{Selection: set, Plan: store.Plan{MaxInFlight: 1}})
	require.NoError(t, err)
	_, _, err = s.BeginItems(t.Context(), store.Begin{ReplayID: r.ID, Items: []store.BeginItem{
		{Sequence: set.Members[0].Sequence, Etag: "1", Verdict: store.VerdictReady, IntentID: uuid.NewString(), Run: 2, Revision: 1},
		{Sequence: set.Members[1].Sequence, Verdict: store.VerdictHeld},
	}})
	require.NoError(t, err)
	m := metrictest.New()
	measured := newReplayMetrics(m.Provider(), s)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { measured.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	requireMetric(t, m, "warren.dead_letter.replay.items", map[string]float64{
		"warren.state=pending": 1, "warren.state=in_flight": 1, "warren.state=skipped": 1, "warren.state=succeeded": 0, "warren.state=failed_again": 0, "warren.state=cancelled": 0, "warren.state=unknown": 0,
	})
}

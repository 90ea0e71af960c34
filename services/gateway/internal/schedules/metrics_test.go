package schedules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
)

func TestMetricsOfFirings(t *testing.T) {
	t.Parallel()
	f, m := newFixture(t), metrictest.New()
	f.metrics = newMetrics(m.Provider())
	const name = "warren.schedule.firings"
	s := each(time.Hour)
	s.Overlap = adminv1.OverlapPolicy_OVERLAP_POLICY_SKIP
	f.put(t, "s", s)
	f.pass(time.Hour)
	f.fireNow(t)
	require.Equal(t, map[string]float64{"warren.outcome=fired": 1}, m.Series(t, name))
	f.pass(time.Hour)
	f.fireNow(t)
	require.Equal(t, map[string]float64{"warren.outcome=fired": 1, "warren.outcome=skipped": 1}, m.Series(t, name))
	for range 2 {
		_, err := f.Trigger(t.Context(), "s", "one request")
		require.NoError(t, err)
	}
	require.Equal(t, map[string]float64{"warren.outcome=fired": 2, "warren.outcome=skipped": 1}, m.Series(t, name))
	f.makes = status.Error(codes.NotFound, "no such type")
	f.put(t, "broken", each(time.Hour))
	f.fireNow(t)
	require.EqualValues(t, 1, m.Series(t, name)["warren.outcome=failed"])
}

package stats_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/services/bench/internal/stats"
)

func TestSummaries(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   stats.Summary
	}{
		{nil, stats.Summary{}},
		{[]float64{4}, stats.Summary{Median: 4, Min: 4, Max: 4}},
		{[]float64{4, 2}, stats.Summary{Median: 3, Min: 2, Max: 4, MAD: 1}},
		{[]float64{9, 1, 2, 4, 6}, stats.Summary{Median: 4, Min: 1, Max: 9, MAD: 2}},
	} {
		require.Equal(t, c.want, stats.Of(c.values))
	}
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	values := []float64{50, 15, 40, 35, 20}
	for p, want := range map[float64]float64{0: 15, 5: 15, 20: 15, 30: 20, 40: 20, 50: 35, 99: 50, 100: 50} {
		require.InDelta(t, want, stats.Percentile(values, p), 0, "percentile %v", p)
	}
	require.Zero(t, stats.Percentile(nil, 50))
}

func TestASummaryIsOfItsValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-1e9, 1e9), 1, 20).Draw(t, "values")
		before := slices.Clone(values)
		s := stats.Of(values)
		require.Equal(t, before, values, "values stay in their order")
		require.LessOrEqual(t, s.Min, s.Median)
		require.LessOrEqual(t, s.Median, s.Max)
		require.GreaterOrEqual(t, s.MAD, 0.0)
		require.LessOrEqual(t, s.MAD, s.Max-s.Min)
		p := rapid.Float64Range(0, 100).Draw(t, "p")
		require.Contains(t, values, stats.Percentile(values, p))
		require.LessOrEqual(t, stats.Percentile(values, p), stats.Percentile(values, min(p+10, 100)))
	})
}

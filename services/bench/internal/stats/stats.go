// Package stats says what is typical of a few measured values, and how far they
// spread.
package stats

import (
	"math"
	"slices"
)

// Summary is what a set of values comes to. Of no values all fields are 0.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// MAD is the median of the absolute deviations from the median.
	MAD float64 `json:"mad"`
}

// Of summarises values, in any order; it leaves them as they are.
func Of(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	median := Median(values)
	deviations := make([]float64, len(values))
	for i, v := range values {
		deviations[i] = math.Abs(v - median)
	}
	return Summary{Median: median, Min: slices.Min(values), Max: slices.Max(values), MAD: Median(deviations)}
}

// Median is the value in the middle, or the mean of the two that are; 0 of none.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	switch n := len(sorted); {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	default:
		return sorted[n/2-1] + (sorted[n/2]-sorted[n/2-1])/2
	}
}

// Percentile is the smallest value that p percent of the values do not exceed
// (the nearest rank); 0 of none.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

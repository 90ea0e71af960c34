package rounds_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/bench/internal/rounds"
	"github.com/warrenmq/warren/services/bench/internal/usage"
)

// counting is a measure whose value counts its runs.
func counting(name string, trace *[]string, fail func(run int) error) rounds.Measure {
	run := 0
	return rounds.Measure{
		Name: name, Tasks: 10,
		Warm: func(context.Context) error {
			*trace = append(*trace, name+" warm")
			return fail(0)
		},
		Run: func(context.Context) ([]rounds.Value, error) {
			run++
			*trace = append(*trace, fmt.Sprint(name, " ", run))
			return []rounds.Value{{Name: "n", Unit: "x", Number: float64(run)}, {Name: "m", Unit: "y", Number: float64(-run)}}, fail(run)
		},
	}
}

func never(int) error { return nil }

func TestMeasuresTakeTurns(t *testing.T) {
	var trace []string
	used := time.Duration(0)
	meters := map[string]usage.Meter{"p": func() (time.Duration, error) { used += time.Second; return used, nil }}
	a, b := counting("a", &trace, never), counting("b", &trace, never)
	b.Warm = nil
	var progress []string
	results, err := rounds.Run(t.Context(), rounds.Config{
		Measures: []rounds.Measure{a, b}, Rounds: 2, Meters: meters,
		Progress: func(round int, measure string) { progress = append(progress, fmt.Sprint(round, measure)) },
	})
	require.NoError(t, err)
	require.Equal(t, []string{"a warm", "a 1", "b 1", "a 2", "b 2"}, trace)
	require.Equal(t, []string{"0a", "1a", "1b", "2a", "2b"}, progress)
	require.Len(t, results, 2)
	require.Equal(t, []rounds.Series{{"n", "x", []float64{1, 2}}, {"m", "y", []float64{-1, -2}}}, results[0].Series)
	require.Equal(t, []time.Duration{time.Second, time.Second}, results[0].CPU["p"])
	require.Len(t, results[0].Took, 2)
	require.Equal(t, 10, results[0].Tasks)
	require.Equal(t, []float64{-1, -2}, rounds.Numbers(results, "b", "m"))
	require.Empty(t, rounds.Numbers(results, "b", "none"))
}

func TestAMeasureThatFailsIsLeftOut(t *testing.T) {
	broken := errors.New("broken")
	for _, at := range []int{0, 2} {
		var trace []string
		results, err := rounds.Run(t.Context(), rounds.Config{
			Measures: []rounds.Measure{
				counting("a", &trace, func(run int) error {
					if run == at {
						return broken
					}
					return nil
				}),
				counting("b", &trace, never),
			},
			Rounds: 3, Progress: func(int, string) {},
		})
		require.NoError(t, err)
		require.ErrorIs(t, results[0].Err, broken)
		require.Len(t, rounds.Numbers(results, "a", "n"), max(at-1, 0))
		require.NoError(t, results[1].Err)
		require.Len(t, rounds.Numbers(results, "b", "n"), 3)
	}
}

func TestTheContextEndsIt(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var trace []string
	_, err := rounds.Run(ctx, rounds.Config{
		Measures: []rounds.Measure{counting("a", &trace, func(run int) error {
			if run == 2 {
				cancel(why)
			}
			return nil
		})},
		Rounds: 5, Progress: func(int, string) {},
	})
	require.ErrorIs(t, err, why)
	require.Equal(t, []string{"a warm", "a 1", "a 2"}, trace)
}

func TestAMeterThatFails(t *testing.T) {
	broken := errors.New("gone")
	var trace []string
	results, err := rounds.Run(t.Context(), rounds.Config{
		Measures: []rounds.Measure{counting("a", &trace, never)}, Rounds: 2, Progress: func(int, string) {},
		Meters: map[string]usage.Meter{"p": func() (time.Duration, error) { return 0, broken }},
	})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, broken)
}

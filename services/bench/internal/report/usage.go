package report

import (
	"maps"
	"slices"
	"time"

	"github.com/warrenmq/warren/services/bench/internal/rounds"
	"github.com/warrenmq/warren/services/bench/internal/stats"
)

// Usage is how much CPU time a process used for a task, in microseconds. The
// seconds for 10,000 tasks are a hundredth of it.
type Usage struct {
	Measure string `json:"measure"`
	Process string `json:"process"`
	stats.Summary
	Rounds []float64 `json:"rounds"`
}

// Others is how many cores processes kept busy meanwhile that do not take part.
type Others struct {
	Measure string `json:"measure"`
	stats.Summary
	Rounds []float64 `json:"rounds"`
}

func (r *Report) addUsage(result rounds.Result, machine string) {
	others := slices.Clone(result.CPU[machine])
	for _, process := range slices.Sorted(maps.Keys(result.CPU)) {
		if process == machine {
			continue
		}
		perTask := make([]float64, len(result.Took))
		for i, used := range result.CPU[process] {
			perTask[i] = micros(used) / float64(max(result.Tasks, 1))
			others[i] -= used
		}
		r.CPU = append(r.CPU, Usage{result.Measure, process, stats.Of(perTask), perTask})
	}
	if len(others) == 0 {
		return
	}
	cores := make([]float64, len(others))
	for i, used := range others {
		// What counts in ticks can be a little below the sum of its parts.
		cores[i] = max(micros(used)/max(micros(result.Took[i]), 1), 0)
	}
	r.Others = append(r.Others, Others{result.Measure, stats.Of(cores), cores})
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

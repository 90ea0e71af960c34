// Package report tells what was measured: as a table for people and as JSON for
// programs.
package report

import (
	"github.com/warrenmq/warren/services/bench/internal/rounds"
	"github.com/warrenmq/warren/services/bench/internal/stats"
)

// Report is one run of the benchmark.
type Report struct {
	Setup
	// Settings are what the run was made with.
	Settings Settings `json:"settings"`
	Values   []Row    `json:"values"`
	Ratios   []Ratio  `json:"ratios"`
	CPU      []Usage  `json:"cpu"`
	// Others are what else ran on the machine, in cores.
	Others []Others `json:"others"`
	// Failures are by measure.
	Failures map[string]string `json:"failures,omitempty"`
}

// Settings are what a run was made with.
type Settings struct {
	Rounds       int `json:"rounds"`
	PayloadBytes int `json:"payload_bytes"`
	// Seconds is how long each round measured latencies.
	Seconds     float64        `json:"seconds"`
	Concurrency int            `json:"concurrency"`
	Connections int            `json:"connections"`
	Tasks       map[string]int `json:"tasks"`
}

// Row is one measured value.
type Row struct {
	Measure string `json:"measure"`
	Name    string `json:"name"`
	Unit    string `json:"unit"`
	stats.Summary
	// Rounds are the numbers of each round.
	Rounds []float64 `json:"rounds"`
}

// Ratio is one value as a share of another one, of the same round.
type Ratio struct {
	Measure string `json:"measure"`
	Name    string `json:"name"`
	// Of is the measure that it is compared with.
	Of string `json:"of"`
	stats.Summary
	Rounds []float64 `json:"rounds"`
}

// Comparison says which ratio is of interest.
type Comparison struct {
	Measure, Name   string
	Of, NameOfOther string
}

// Fill adds what was measured to the report. Of the meters, machine is the name of
// the one of the whole machine, the others are processes.
func (r *Report) Fill(results []rounds.Result, comparisons []Comparison, machine string) {
	r.Settings.Tasks, r.Failures = map[string]int{}, map[string]string{}
	for _, result := range results {
		r.Settings.Tasks[result.Measure] = result.Tasks
		if result.Err != nil {
			r.Failures[result.Measure] = result.Err.Error()
		}
		for _, s := range result.Series {
			r.Values = append(r.Values, Row{result.Measure, s.Name, s.Unit, stats.Of(s.Numbers), s.Numbers})
		}
		r.addUsage(result, machine)
	}
	for _, c := range comparisons {
		shares := divide(rounds.Numbers(results, c.Measure, c.Name), rounds.Numbers(results, c.Of, c.NameOfOther))
		if len(shares) > 0 {
			r.Ratios = append(r.Ratios, Ratio{c.Measure, c.Name, c.Of, stats.Of(shares), shares})
		}
	}
}

// divide divides round by round, as far as both were measured.
func divide(these, others []float64) []float64 {
	var shares []float64
	for i := range min(len(these), len(others)) {
		if others[i] != 0 {
			shares = append(shares, these[i]/others[i])
		}
	}
	return shares
}

// WriteJSON writes the report to a file.
func (r *Report) WriteJSON(file string) error { return writeJSON(file, r) }

// Package rounds runs measures in turn, again and again, so that what changes on
// the machine meanwhile meets all of them alike.
package rounds

import (
	"context"
	"time"

	"github.com/warrenmq/warren/services/bench/internal/usage"
)

// Measure is something to be measured.
type Measure struct {
	// Name is short and unique.
	Name string
	// Tasks is how many tasks or messages a run of it has.
	Tasks int
	// Warm, if it is there, is run once before the first round.
	Warm func(context.Context) error
	// Run runs it once.
	Run func(context.Context) ([]Value, error)
}

// Value is one of the things that a measure finds.
type Value struct {
	// Name is unique within the measure.
	Name string
	// Unit is such as "ms".
	Unit string
	// Number is how much.
	Number float64
}

// Result is what a measure has found.
type Result struct {
	// Measure and Tasks are the measure's.
	Measure string
	Tasks   int
	// Series are its values, in the order of its first run, each with a number for
	// each round.
	Series []Series
	// CPU has for each meter what it counted in each round, and Took how long that
	// was.
	CPU  map[string][]time.Duration
	Took []time.Duration
	// Err is why it was not measured, or not to the end.
	Err error
}

// Series are the values of one name.
type Series struct {
	Name, Unit string
	Numbers    []float64
}

// Config says how to measure.
type Config struct {
	// Measures in the order of each round.
	Measures []Measure
	// Rounds is how often each is run.
	Rounds int
	// Meters are read before and after each run.
	Meters map[string]usage.Meter
	// Progress is told of each run, with round 0 for the warm-up. Required.
	Progress func(round int, measure string)
}

// Run runs the measures. One that fails is left out from then on, which its
// result says. The error is the context's cause once that has ended.
func Run(ctx context.Context, cfg Config) ([]Result, error) {
	results := make([]Result, len(cfg.Measures))
	for i, m := range cfg.Measures {
		results[i] = Result{Measure: m.Name, Tasks: m.Tasks, CPU: map[string][]time.Duration{}}
	}
	for round := range cfg.Rounds + 1 {
		for i, m := range cfg.Measures {
			if results[i].Err != nil || round == 0 && m.Warm == nil {
				continue
			}
			cfg.Progress(round, m.Name)
			if round == 0 {
				results[i].Err = m.Warm(ctx)
			} else {
				results[i].Err = results[i].add(ctx, m, cfg.Meters)
			}
			if ctx.Err() != nil {
				return results, context.Cause(ctx)
			}
		}
	}
	return results, nil
}

// add runs the measure once and notes what it finds.
func (r *Result) add(ctx context.Context, m Measure, meters map[string]usage.Meter) error {
	before, err := usage.ReadAll(meters)
	if err != nil {
		return err
	}
	begin := time.Now()
	values, err := m.Run(ctx)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := usage.ReadAll(meters)
	if err != nil {
		return err
	}
	r.Took = append(r.Took, took)
	for name, used := range after {
		r.CPU[name] = append(r.CPU[name], used-before[name])
	}
	for _, v := range values {
		r.note(v)
	}
	return nil
}

func (r *Result) note(v Value) {
	for i := range r.Series {
		if r.Series[i].Name == v.Name {
			r.Series[i].Numbers = append(r.Series[i].Numbers, v.Number)
			return
		}
	}
	r.Series = append(r.Series, Series{Name: v.Name, Unit: v.Unit, Numbers: []float64{v.Number}})
}

// Numbers are those of a value, one for each round; none if it was not measured.
func Numbers(results []Result, measure, value string) []float64 {
	for _, r := range results {
		for _, s := range r.Series {
			if r.Measure == measure && s.Name == value {
				return s.Numbers
			}
		}
	}
	return nil
}

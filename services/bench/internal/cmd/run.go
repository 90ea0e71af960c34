//go:build unix

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/noop"
	"github.com/warrenmq/warren/services/bench/internal/platform"
	"github.com/warrenmq/warren/services/bench/internal/rawbroker"
	"github.com/warrenmq/warren/services/bench/internal/report"
	"github.com/warrenmq/warren/services/bench/internal/rounds"
	"github.com/warrenmq/warren/services/bench/internal/usage"
)

type runCommand struct {
	Measures    []string      `help:"What to measure: ${enum}." default:"L1,bulk,stream,L64,unary,call,latency,lateness,call-latency" enum:"L1,bulk,stream,L64,unary,call,latency,lateness,call-latency"`
	Rounds      int           `help:"How often each is measured." default:"5"`
	Tasks       int           `help:"Tasks in a round of unary, of call, of bulk and of stream; L64 has twice as many messages and L1 four times." default:"20000"`
	Duration    time.Duration `help:"How long a round of latency, of lateness and of call-latency is." default:"5s"`
	Concurrency int           `help:"Tasks that the worker runs at the same time." default:"64"`
	Connections int           `help:"gRPC connections that the callers share." default:"4"`
	JSON        string        `name:"json" help:"File for the results as JSON." placeholder:"FILE"`
}

// Validate is called by kong.
func (c *runCommand) Validate() error {
	if c.Rounds < 1 || c.Tasks < 1 || c.Concurrency < 1 || c.Connections < 1 || c.Duration <= 0 {
		return errors.New("rounds, tasks, duration, concurrency and connections must be positive")
	}
	return nil
}

// Run is called by kong. Everything that it starts has ended when it returns.
func (c *runCommand) Run(ctx context.Context, f *flags, s streams) error {
	cfg := platform.Config{
		Worker: platform.WorkerSettings{Concurrency: c.Concurrency}, Connections: c.Connections, Server: slices.Contains(c.Measures, callLatency),
	}
	return f.onPlatform(ctx, s, cfg, func(ctx context.Context, p measured) error { return c.measure(ctx, p, s) })
}

// measure measures on a platform that runs, and reports.
func (c *runCommand) measure(ctx context.Context, p measured, s streams) error {
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	all := measures{
		raw:   &rawbroker.Limits{URL: p.cfg.Broker.URL, Names: broker.Names{Namespace: p.cfg.Namespace}, PayloadBytes: noop.PayloadBytes},
		load:  &load.Load{Tasks: p.Tasks, Reports: p.Reports, Conns: p.Conns, Direct: p.Direct},
		tasks: c.Tasks, during: c.Duration,
	}
	results, err := rounds.Run(ctx, rounds.Config{
		Measures: all.named(c.Measures), Rounds: c.Rounds, Meters: withMachine(p.Meters),
		Progress: func(round int, measure string) {
			if round == 0 {
				s.note("warming up: %s", measure)
				return
			}
			s.note("round %d of %d: %s", round, c.Rounds, measure)
		},
	})
	if err != nil {
		return err
	}
	r := &report.Report{Setup: p.setup, Settings: report.Settings{
		Rounds: c.Rounds, PayloadBytes: noop.PayloadBytes, Seconds: c.Duration.Seconds(),
		Concurrency: c.Concurrency, Connections: c.Connections,
	}}
	r.Fill(results, comparisons(), machineMeter)
	return errors.Join(publish(r, s, c.JSON), failure(results))
}

// printable is a report.
type printable interface {
	Print(io.Writer) error
	WriteJSON(file string) error
}

// publish prints a report, and writes it to a file if that is named.
func publish(r printable, s streams, file string) error {
	if err := r.Print(s.out); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if file == "" {
		return nil
	}
	return r.WriteJSON(file)
}

// machineMeter is the name of the meter of the whole machine.
const machineMeter = "machine"

func withMachine(processes map[string]usage.Meter) map[string]usage.Meter {
	all := maps.Clone(processes)
	if len(all) > 0 {
		all[machineMeter] = usage.Machine
	}
	return all
}

// failure is why a measure failed. That the gateway does not have a method is
// none: the report says so.
func failure(results []rounds.Result) error {
	var failed []error
	for _, r := range results {
		if r.Err != nil && !load.Unimplemented(r.Err) {
			failed = append(failed, fmt.Errorf("measure %s: %w", r.Measure, r.Err))
		}
	}
	return errors.Join(failed...)
}

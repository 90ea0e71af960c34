//go:build unix

package cmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/machine"
	"github.com/warrenmq/warren/services/bench/internal/noop"
	"github.com/warrenmq/warren/services/bench/internal/platform"
	"github.com/warrenmq/warren/services/bench/internal/rawbroker"
	"github.com/warrenmq/warren/services/bench/internal/report"
	"github.com/warrenmq/warren/services/bench/internal/rounds"
	"github.com/warrenmq/warren/services/bench/internal/usage"
)

type runCommand struct {
	BinDir      string        `help:"Folder with the binary gateway." default:"bin"`
	Measures    []string      `help:"What to measure: L1, L64, unary, bulk, latency." default:"L1,bulk,L64,unary,latency" enum:"L1,L64,unary,bulk,latency"`
	Rounds      int           `help:"How often each is measured." default:"5"`
	Tasks       int           `help:"Tasks in a round of unary and of bulk; L64 has twice as many messages and L1 four times." default:"20000"`
	Duration    time.Duration `help:"How long a round of latency is." default:"5s"`
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
func (c *runCommand) Run(ctx context.Context, f *flags, s streams) (err error) {
	gateway := filepath.Join(c.BinDir, "gateway")
	if _, err := os.Stat(gateway); err != nil {
		return fmt.Errorf("the gateway's binary is not there, `make build` builds it: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "warren-bench-")
	if err != nil {
		return fmt.Errorf("make a folder for the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	amqp, err := platform.GetBroker(ctx, f.AMQPURL, s.note)
	if err != nil {
		return fmt.Errorf("get a broker: %w", err)
	}
	defer func() { err = errors.Join(err, amqp.Close()) }()
	cfg := platform.Config{
		Broker: amqp, Namespace: f.Namespace, Gateway: gateway, Worker: self, Dir: dir,
		Concurrency: c.Concurrency, Connections: c.Connections,
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "bench-" + strings.ToLower(rand.Text()[:8])
	}
	p, err := platform.Start(ctx, cfg)
	if err == nil {
		err = c.measure(ctx, p, cfg, s)
	}
	if err = errors.Join(err, p.Stop()); err != nil && ctx.Err() == nil {
		p.ShowLogs(s.log)
	}
	return err
}

// measure measures on a platform that runs, and reports.
func (c *runCommand) measure(ctx context.Context, p *platform.Platform, cfg platform.Config, s streams) error {
	r, err := c.newReport(ctx, cfg)
	if err != nil {
		return err
	}
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	all := measures{
		raw:   &rawbroker.Limits{URL: cfg.Broker.URL, Names: broker.Names{Namespace: cfg.Namespace}, PayloadBytes: noop.PayloadBytes},
		load:  &load.Load{Tasks: p.Tasks, Reports: p.Reports},
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
	r.Fill(results, comparisons(), machineMeter)
	if err := r.Print(s.out); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if c.JSON != "" {
		err = r.WriteJSON(c.JSON)
	}
	return errors.Join(err, failure(results))
}

func (c *runCommand) newReport(ctx context.Context, cfg platform.Config) (*report.Report, error) {
	product, erlang, err := rawbroker.Version(ctx, cfg.Broker.URL)
	if err != nil {
		return nil, err
	}
	return &report.Report{
		Time: time.Now().UTC(), Version: buildinfo.Version(), Machine: machine.Look(cfg.Dir), Broker: product, Erlang: erlang,
		Settings: report.Settings{
			Rounds: c.Rounds, PayloadBytes: noop.PayloadBytes, Seconds: c.Duration.Seconds(),
			Concurrency: c.Concurrency, Connections: c.Connections,
		},
	}, nil
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

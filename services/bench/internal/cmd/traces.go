//go:build unix

package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/noop"
	"github.com/warrenmq/warren/services/bench/internal/platform"
	"github.com/warrenmq/warren/services/bench/internal/report"
	"github.com/warrenmq/warren/services/bench/internal/rounds"
	"github.com/warrenmq/warren/services/bench/internal/sink"
	"github.com/warrenmq/warren/services/bench/internal/usage"
)

type tracesCommand struct {
	Rounds      int    `help:"How often each is measured." default:"5"`
	Tasks       int    `help:"Tasks in a round." default:"20000"`
	Concurrency int    `help:"Tasks that each worker runs at the same time." default:"64"`
	Connections int    `help:"gRPC connections that the callers share." default:"4"`
	JSON        string `name:"json" help:"File for the results as JSON." placeholder:"FILE"`
}

// Validate is called by kong.
func (c *tracesCommand) Validate() error {
	if c.Rounds < 1 || c.Tasks < 1 || c.Concurrency < 1 || c.Connections < 1 {
		return errors.New("rounds, tasks, concurrency and connections must be positive")
	}
	return nil
}

// tracing is a share of traces that is sampled.
type tracing struct {
	name string
	// ratio is as OTEL_TRACES_SAMPLER_ARG has it, empty for no tracing.
	ratio string
}

// untraced is what the others are compared with.
const untraced = "off"

var tracings = []tracing{{untraced, ""}, {"1 %", "0.01"}, {"100 %", "1"}}

// env is what processes are told that send their spans to a URL.
func (t tracing) env(url string) []string {
	if t.ratio == "" {
		return []string{"OTEL_SDK_DISABLED=true"}
	}
	return []string{
		"OTEL_SDK_DISABLED=false", "OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=none",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + url, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=" + t.ratio,
	}
}

// traced is a platform that runs with its share of traces.
type traced struct {
	tracing
	measured
	spans *sink.Sink
}

// Run is called by kong. Everything that it starts has ended when it returns.
func (c *tracesCommand) Run(ctx context.Context, f *flags, s streams) (err error) {
	amqp, err := platform.GetBroker(ctx, f.AMQPURL, s.note)
	if err != nil {
		return fmt.Errorf("get a broker: %w", err)
	}
	defer func() { err = errors.Join(err, amqp.Close()) }()
	// All of them share the broker, each with names of its own.
	shared := *f
	shared.AMQPURL, shared.Namespace = amqp.URL, ""
	return c.start(ctx, &shared, s, tracings, nil)
}

// start starts a platform for each of what is left, then measures on all of them.
func (c *tracesCommand) start(ctx context.Context, f *flags, s streams, left []tracing, running []traced) (err error) {
	if len(left) == 0 {
		return c.measure(ctx, running, s)
	}
	spans, err := sink.Listen(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spans.Close()) }()
	cfg := platform.Config{
		Worker: platform.WorkerSettings{Concurrency: c.Concurrency}, Connections: c.Connections, Env: left[0].env(spans.URL),
	}
	return f.onPlatform(ctx, s, cfg, func(ctx context.Context, p measured) error {
		ctx, cancel := p.Guard(ctx)
		defer cancel()
		return c.start(ctx, f, s, left[1:], append(running, traced{left[0], p, spans}))
	})
}

// measure measures on platforms that run, in turns, and reports.
func (c *tracesCommand) measure(ctx context.Context, running []traced, s streams) error {
	var all []rounds.Measure
	var comparisons []report.Comparison
	for _, p := range running {
		all = append(all, c.unary(p))
		if p.name != untraced {
			comparisons = append(comparisons, report.Comparison{Measure: p.name, Name: done, Of: untraced, NameOfOther: done})
		}
	}
	results, err := rounds.Run(ctx, rounds.Config{
		Measures: all, Rounds: c.Rounds, Meters: withMachine(together(running)),
		Progress: func(round int, measure string) { s.note("round %d of %d: traces %s", round, c.Rounds, measure) },
	})
	if err != nil {
		return err
	}
	r := &report.Report{Setup: running[0].setup, Settings: report.Settings{
		Rounds: c.Rounds, PayloadBytes: noop.PayloadBytes, Concurrency: c.Concurrency, Connections: c.Connections,
	}}
	r.Fill(results, comparisons, machineMeter)
	return errors.Join(publish(r, s, c.JSON), failure(results))
}

// unary measures what submits by callers, and how many spans arrive meanwhile. Those
// of the end of a round may arrive in the next one.
func (c *tracesCommand) unary(p traced) rounds.Measure {
	m := measures{load: &load.Load{Tasks: p.Tasks, Reports: p.Reports}, tasks: c.Tasks}
	measure := m.throughput(p.name, m.load.Unary)
	plain := measure.Run
	measure.Run = func(ctx context.Context) ([]rounds.Value, error) {
		before := p.spans.Spans()
		values, err := plain(ctx)
		arrived := float64(p.spans.Spans()-before) / float64(c.Tasks)
		return append(values, rounds.Value{Name: "spans", Unit: "spans/task", Number: arrived}), err
	}
	return measure
}

// together are meters that each count what all platforms' processes of a name use.
func together(running []traced) map[string]usage.Meter {
	sums := map[string]usage.Meter{}
	for name := range running[0].Meters {
		if name == platform.ProcessBench {
			sums[name] = running[0].Meters[name]
			continue
		}
		sums[name] = func() (sum time.Duration, err error) {
			for _, p := range running {
				used, err := p.Meters[name]()
				if err != nil {
					return 0, err
				}
				sum += used
			}
			return sum, nil
		}
	}
	return sums
}

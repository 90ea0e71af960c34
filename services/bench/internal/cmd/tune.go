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
	"github.com/warrenmq/warren/services/bench/internal/stats"
)

type tuneCommand struct {
	matrix      `embed:""`
	Seconds     float64 `help:"How long each combination is under load, about." default:"3"`
	Connections int     `help:"gRPC connections that the callers share." default:"4"`
	JSON        string  `name:"json" help:"File for the results as JSON." placeholder:"FILE"`
}

// Validate is called by kong.
func (c *tuneCommand) Validate() error {
	if c.Seconds <= 0 || c.Connections < 1 {
		return errors.New("seconds and connections must be positive")
	}
	return c.check()
}

const (
	// criticals is how many CRITICAL tasks overtake a queue.
	criticals = 20
	// firstGuess is how many tasks per second a worker carries out that take no
	// time, to begin with.
	firstGuess = 3000
	// fewest and most tasks are submitted to measure a throughput.
	fewest, most = 50, 100_000
	// phases of a combination last as long, about.
	phases = 3
	// longestHold bounds how long a worker is kept from a queue that is filled.
	longestHold = 10 * time.Second
	// slowest bounds what a combination may take beyond its load: it is there for
	// what hangs.
	slowest = 2 * time.Minute
)

// Run is called by kong. Everything that it starts has ended when it returns.
func (c *tuneCommand) Run(ctx context.Context, f *flags, s streams) error {
	workers := c.workers()
	cfg := platform.Config{Worker: workers[0], Connections: c.Connections}
	return f.onPlatform(ctx, s, cfg, func(ctx context.Context, p measured) error {
		r := &report.Tuning{
			Setup: p.setup, PayloadBytes: noop.PayloadBytes, Connections: c.Connections, Seconds: c.Seconds,
			RetryMillis: float64(noop.RetryDelay) / float64(time.Millisecond),
		}
		err := c.measure(ctx, p, workers, r, s)
		if len(r.Combinations) > 0 && ctx.Err() == nil {
			err = errors.Join(err, publish(r, s, c.JSON))
		}
		return err
	})
}

// measure measures each combination and adds it to the report.
func (c *tuneCommand) measure(ctx context.Context, p measured, workers []platform.WorkerSettings, r *report.Tuning, s streams) error {
	works := c.works()
	tasks := &load.Load{Tasks: p.Tasks}
	for i, settings := range workers {
		if i > 0 {
			if err := p.ReplaceWorker(settings); err != nil {
				return fmt.Errorf("replace the worker: %w", err)
			}
		}
		tasks.Reports = p.Reports
		for j, work := range works {
			s.note("%d of %d: concurrency %d, prefetch %d, work %v, retries %v",
				i*len(works)+j+1, len(workers)*len(works), settings.Concurrency, settings.Prefetch, work.Take, work.Retries)
			found, err := c.guarded(ctx, p, tasks, settings, work)
			if err != nil {
				return fmt.Errorf("measure concurrency %d, prefetch %d, work %v, retries %v: %w",
					settings.Concurrency, settings.Prefetch, work.Take, work.Retries, err)
			}
			r.Combinations = append(r.Combinations, found)
		}
	}
	return nil
}

// guarded measures a combination within a time and while all processes live.
func (c *tuneCommand) guarded(ctx context.Context, p measured, tasks *load.Load, settings platform.WorkerSettings, work load.Work) (report.Combination, error) {
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	limit := slowest + time.Duration(10*c.Seconds*float64(time.Second))
	ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took more than %v", limit))
	defer cancel()
	return combination{settings: settings, work: work, phase: c.Seconds / phases}.measure(ctx, tasks)
}

// combination is a worker's settings and what it is given to do. A phase is in
// seconds.
type combination struct {
	settings platform.WorkerSettings
	work     load.Work
	phase    float64
}

// measure measures the throughput, latencies at half of it, and how CRITICAL tasks
// overtake others.
func (c combination) measure(ctx context.Context, tasks *load.Load) (report.Combination, error) {
	pace, err := c.pace(ctx, tasks)
	if err != nil {
		return report.Combination{}, err
	}
	offered := pace.Done / 2
	starts, err := tasks.Starts(ctx, c.work, offered, time.Duration(c.phase*float64(time.Second)))
	if err != nil {
		return report.Combination{}, err
	}
	waits, err := tasks.Behind(ctx, c.backlog(pace), criticals)
	if err != nil {
		return report.Combination{}, err
	}
	return report.Combination{
		Concurrency: c.settings.Concurrency, Prefetch: c.settings.Prefetch,
		Retries: c.work.Retries, WorkMillis: float64(c.work.Take) / float64(time.Millisecond),
		Throughput: pace.Done, Offered: offered,
		StartP50: stats.Percentile(millis(starts), 50), StartP99: stats.Percentile(millis(starts), 99),
		CriticalP50: stats.Percentile(millis(waits), 50), CriticalTasks: len(waits),
	}, nil
}

// pace is measured with few tasks first, to know how many fill a phase.
func (c combination) pace(ctx context.Context, tasks *load.Load) (load.Pace, error) {
	guess := float64(firstGuess)
	if c.work.Take > 0 {
		guess = min(guess, float64(c.settings.Concurrency)/c.work.Take.Seconds())
	}
	first, err := tasks.Pace(ctx, c.work, bounded(guess*c.phase/phases))
	if err != nil {
		return load.Pace{}, err
	}
	return tasks.Pace(ctx, c.work, bounded(first.Done*c.phase))
}

func bounded(tasks float64) int { return int(min(max(tasks, fewest), most)) }

// backlog lasts while each of the CRITICAL tasks waits for what the worker holds,
// and some time beyond that.
func (c combination) backlog(pace load.Pace) load.Backlog {
	held := c.settings.Concurrency + c.settings.Prefetch
	n := bounded(pace.Done*c.phase/2 + float64(criticals*held))
	hold := time.Duration(float64(n) / pace.Accepted * float64(time.Second))
	return load.Backlog{Work: c.work, Tasks: n, Slots: c.settings.Concurrency, Hold: min(hold, longestHold)}
}

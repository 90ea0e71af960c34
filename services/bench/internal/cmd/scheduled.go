//go:build unix

package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/noop"
	"github.com/warrenmq/warren/services/bench/internal/platform"
	"github.com/warrenmq/warren/services/bench/internal/report"
	"github.com/warrenmq/warren/services/bench/internal/stats"
)

type scheduledCommand struct {
	Tasks       int           `help:"Tasks to schedule." default:"1000000"`
	Duration    time.Duration `help:"How long tasks are due, before and after." default:"5s"`
	Concurrency int           `help:"Tasks that the worker runs at the same time." default:"64"`
	Connections int           `help:"gRPC connections that the callers share." default:"4"`
	JSON        string        `name:"json" help:"File for the results as JSON." placeholder:"FILE"`
}

// Validate is called by kong.
func (c *scheduledCommand) Validate() error {
	if c.Tasks < 1 || c.Concurrency < 1 || c.Connections < 1 || c.Duration <= 0 {
		return errors.New("tasks, duration, concurrency and connections must be positive")
	}
	return nil
}

const (
	// aheadBy is when the first of the tasks is due, and the last is twice as far.
	aheadBy = 90 * 24 * time.Hour
	// sampled is how many of them are run before their time.
	sampled = 20
	// steps is how often progress is told.
	steps = 10
)

// Run is called by kong. Everything that it starts has ended when it returns.
func (c *scheduledCommand) Run(ctx context.Context, f *flags, s streams) error {
	cfg := platform.Config{Worker: platform.WorkerSettings{Concurrency: c.Concurrency}, Connections: c.Connections}
	return f.onPlatform(ctx, s, cfg, func(ctx context.Context, p measured) error {
		ctx, cancel := p.Guard(ctx)
		defer cancel()
		r, err := c.measure(ctx, p, s)
		if err != nil {
			return err
		}
		return publish(r, s, c.JSON)
	})
}

func (c *scheduledCommand) measure(ctx context.Context, p measured, s streams) (*report.Scheduling, error) {
	r := &report.Scheduling{Setup: p.setup, PayloadBytes: noop.PayloadBytes, Connections: c.Connections}
	tasks := &load.Load{Tasks: p.Tasks, Reports: p.Reports}
	ahead := load.Ahead{First: time.Now().Add(aheadBy), Over: aheadBy}
	s.note("measuring before")
	few, err := tasks.Schedule(ctx, sampled, ahead, sampled, func(int) {})
	if err != nil {
		return nil, err
	}
	if r.Before, err = c.look(ctx, p, tasks, few.Sample); err != nil {
		return nil, err
	}
	many, err := tasks.Schedule(ctx, c.Tasks, ahead, sampled, c.progress(s))
	if err != nil {
		return nil, err
	}
	r.Rate = perSecond(c.Tasks, many.Took)
	s.note("measuring after")
	if r.After, err = c.look(ctx, p, tasks, many.Sample); err != nil {
		return nil, err
	}
	r.After.Tasks = c.Tasks
	return r, nil
}

func (c *scheduledCommand) progress(s streams) func(accepted int) {
	told := 0
	return func(accepted int) {
		if step := accepted * steps / c.Tasks; step > told {
			told = step
			s.note("%d of %d tasks are scheduled", accepted, c.Tasks)
		}
	}
}

// look measures how the gateway is now. It looks at the memory last, when what it
// took to get here may have been collected.
func (c *scheduledCommand) look(ctx context.Context, p measured, tasks *load.Load, sample []string) (report.Waiting, error) {
	now, err := tasks.RunNow(ctx, sample)
	if err != nil {
		return report.Waiting{}, err
	}
	late, err := tasks.Lateness(ctx, c.Duration)
	if err != nil {
		return report.Waiting{}, err
	}
	due := make([]time.Duration, len(late))
	for i, l := range late {
		due[i] = l.Started
	}
	memory, err := p.GatewayMemory()
	if err != nil {
		return report.Waiting{}, err
	}
	size, err := p.StoreBytes()
	if err != nil {
		return report.Waiting{}, err
	}
	return report.Waiting{
		ResidentBytes: memory.Resident, PeakBytes: memory.Peak, StoreBytes: size, RunNow: typical(now), Due: typical(due),
	}, nil
}

func typical(all []time.Duration) report.Percentiles {
	in := millis(all)
	return report.Percentiles{P50: stats.Percentile(in, 50), P99: stats.Percentile(in, 99)}
}

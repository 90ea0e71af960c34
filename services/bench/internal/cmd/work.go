//go:build unix

package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/pkg/worker"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

type workCommand struct {
	Concurrency int           `help:"Tasks that run at the same time." default:"64"`
	Prefetch    int           `help:"How many more are fetched meanwhile. Default: a quarter of the concurrency." default:"0"`
	Grace       time.Duration `help:"How long running tasks may go on after SIGTERM." default:"10s"`
}

// Run is called by kong. The worker's reports go to the standard output. It
// returns once the worker has drained.
func (c *workCommand) Run(ctx context.Context, f *flags, s streams) error {
	prefetch := c.Prefetch
	if prefetch == 0 {
		prefetch = max(c.Concurrency/4, 1)
	}
	log := telemetry.NewLogger(s.log, slog.LevelInfo, false)
	flush, err := telemetry.Start(ctx, "bench-worker", buildinfo.Version(), log)
	if err != nil {
		return err
	}
	defer telemetry.Flush(flush, log) //nolint:contextcheck // ctx has ended by then
	w, err := worker.New(worker.Config{
		AMQPURLs: []string{f.AMQPURL}, Namespace: f.Namespace, Concurrency: c.Concurrency, Prefetch: prefetch, Grace: c.Grace,
		Logger: log,
	})
	if err != nil {
		return fmt.Errorf("make the worker: %w", err)
	}
	if err := noop.Register(w, noop.NewReporter(s.out, c.Concurrency+prefetch)); err != nil {
		return err
	}
	if err := w.Run(ctx); err != nil {
		return fmt.Errorf("run the worker: %w", err)
	}
	return nil
}

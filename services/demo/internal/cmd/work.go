package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/pkg/worker"
)

type workCommand struct {
	cli.Broker
	Concurrency int           `help:"Tasks of each type that run at the same time." default:"8"`
	Grace       time.Duration `help:"How long running tasks may go on after SIGTERM, before they are given back." default:"30s"`
	MaxStuck    int           `help:"With so many handlers that ignore the end of their time the worker drains and exits." default:"4"`
}

// Run is called by kong. It returns once the worker has drained.
func (c *workCommand) Run(ctx context.Context, log *slog.Logger) error {
	w, err := worker.New(worker.Config{
		AMQPURLs:    c.AMQPURL,
		Namespace:   c.Namespace,
		Concurrency: c.Concurrency,
		Grace:       c.Grace,
		MaxStuck:    c.MaxStuck,
		Version:     buildinfo.Version(),
		Logger:      log,
	})
	if err != nil {
		return fmt.Errorf("make the worker: %w", err)
	}
	register(w)
	if err := w.Run(ctx); err != nil {
		return fmt.Errorf("run the worker: %w", err)
	}
	return nil
}

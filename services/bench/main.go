//go:build unix

// Bench measures Warren against the broker that it runs on, in one run and on
// one machine: what RabbitMQ can do by itself, what of it Warren reaches, how
// long a task takes, and what it costs.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/services/bench/internal/cmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A second signal ends the process at once, and its children with it.
	context.AfterFunc(ctx, stop)
	if err := cmd.Run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		cli.Fail("bench", err)
	}
}

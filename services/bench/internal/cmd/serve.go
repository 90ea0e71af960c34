//go:build unix

package cmd

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

type serveCommand struct {
	Listen string        `help:"Address of the gRPC server." required:"" placeholder:"ADDR"`
	Grace  time.Duration `help:"How long calls may go on after SIGTERM." default:"10s"`
}

// Run is called by kong. It serves the worker's handler, whose reports nobody needs,
// and returns once the server has stopped.
func (c *serveCommand) Run(ctx context.Context) error {
	server := grpc.NewServer()
	if err := noop.Register(server, noop.NewReporter(io.Discard, 1)); err != nil {
		return err
	}
	listener, err := rpc.Listen(ctx, "listen", c.Listen, false)
	if err != nil {
		return err
	}
	return rpc.Serve(ctx, server, listener, rpc.Shutdown{Unready: func() {}, Grace: c.Grace})
}

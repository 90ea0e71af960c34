//go:build unix

package platform

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/warrenmq/warren/pkg/ports"
	"github.com/warrenmq/warren/pkg/process"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

// startServer starts a server with the worker's handler, where one is asked for, and
// connects to it.
func (p *Platform) startServer(ctx context.Context) error {
	if !p.cfg.Server {
		return nil
	}
	port, err := ports.AnyFree(ctx)
	if err != nil {
		return fmt.Errorf("find an address for the server: %w", err)
	}
	address := ports.Loopback(port)
	if p.server, err = process.Start(process.Spec{
		Name: "the server", Program: p.cfg.Bench, LogFile: p.log(ProcessServer),
		Args: []string{"serve", "--listen=" + address, "--grace=" + grace.String()},
	}); err != nil {
		return err
	}
	if p.Direct, err = p.dial(address); err != nil {
		return fmt.Errorf("connect to the server: %w", err)
	}
	return nil
}

// awaitServer waits until the server answers, where there is one.
func (p *Platform) awaitServer(ctx context.Context) error {
	if p.server == nil {
		return nil
	}
	if err := noop.Call(ctx, p.Direct, noop.Order{}, grpc.WaitForReady(true)); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("wait for the server: %w", err)
	}
	return nil
}

func (p *Platform) stopServer() error {
	if p.server == nil {
		return nil
	}
	return p.server.Stop(patience)
}

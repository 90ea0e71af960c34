package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Shutdown says how a server stops, in this order.
type Shutdown struct {
	// Unready drops readiness: whoever watches it sends new calls elsewhere. Required.
	Unready func()
	// Delay is how long new calls are taken all the same, until everybody has seen
	// that. Default: not at all.
	Delay time.Duration
	// Stopping ends calls that would go on for ever. Default: there are none.
	Stopping func()
	// Grace is how long calls under way may go on before they are cut off.
	Grace time.Duration
}

// Serve serves until ctx ends, then stops as it is told.
func Serve(ctx context.Context, s *grpc.Server, l net.Listener, down Shutdown) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve gRPC: %w", err)
	case <-ctx.Done():
	}
	down.Unready()
	delay := time.NewTimer(down.Delay)
	defer delay.Stop()
	select {
	case err := <-failed:
		return stopped(err)
	case <-delay.C:
	}
	if down.Stopping != nil {
		down.Stopping()
	}
	cut := time.AfterFunc(down.Grace, s.Stop)
	defer cut.Stop()
	s.GracefulStop()
	return stopped(<-failed)
}

// stopped is the error of a server that was to stop.
func stopped(err error) error {
	// ErrServerStopped: it was stopped before it had begun to serve.
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

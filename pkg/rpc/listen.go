package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Listen listens on a TCP address. Beyond loopback it refuses, unless insecure
// says that this is meant.
func Listen(ctx context.Context, flag, address string, insecure bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	if !insecure && !IsLoopback(host) {
		return nil, fmt.Errorf("--%s %s is reachable from beyond this machine, without TLS or authentication; give a loopback address such as 127.0.0.1, or --insecure if that is meant", flag, address)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

// IsLoopback says whether a host, by its name or address, is certain to be this
// machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Serve serves until ctx ends, then stops gracefully: stopping is called to
// end long calls, those under way may finish within the grace, then they are
// cut off.
func Serve(ctx context.Context, s *grpc.Server, l net.Listener, grace time.Duration, stopping func()) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve gRPC: %w", err)
	case <-ctx.Done():
	}
	stopping()
	cut := time.AfterFunc(grace, s.Stop)
	defer cut.Stop()
	s.GracefulStop()
	// ErrServerStopped: it was stopped before it had begun to serve.
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

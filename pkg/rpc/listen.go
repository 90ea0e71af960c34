package rpc

import (
	"context"
	"fmt"
	"net"
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

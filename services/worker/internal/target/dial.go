package target

import (
	"context"
	"net"
	"net/url"
	"strings"
	"time"
)

// The kernel's probes find out that a host is gone also while a call waits for
// its answer, and no server counts them, unlike gRPC's own pings.
var probes = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// dial connects directly: the proxy that the environment may name is for the
// world outside.
func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: probes}
	network := "tcp"
	if path, ok := unixPath(address); ok {
		network, address = "unix", path
	}
	return d.DialContext(ctx, network, address)
}

// unixPath is the path of a socket, which gRPC gives as a URL, or as the name of
// an abstract one.
func unixPath(address string) (string, bool) {
	if strings.HasPrefix(address, "\x00") {
		return address, true
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "unix" {
		return "", false
	}
	if u.Opaque != "" {
		return u.Opaque, true
	}
	return u.Path, true
}

// Package ports finds TCP ports of this machine that nobody listens on.
package ports

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The range that AnyFree takes from. It ends below the ports that kernels give
// to outgoing connections (from 32768 on Linux, 49152 elsewhere): one of those
// could go to any client between the choice and the use.
const (
	lowest  = 20_000
	highest = 32_000
	tries   = 200
)

// Free says whether nobody listens on the port of 127.0.0.1.
func Free(ctx context.Context, port int) bool {
	probe, err := new(net.ListenConfig).Listen(ctx, "tcp", Loopback(port))
	if err != nil {
		return false
	}
	return probe.Close() == nil
}

// AnyFree is a port of 127.0.0.1 that nobody listens on. Somebody may take it
// at any time after, so what uses it must be ready to try another.
func AnyFree(ctx context.Context) (int, error) {
	for range tries {
		if port := lowest + rand.IntN(highest-lowest); Free(ctx, port) {
			return port, nil
		}
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

// Loopback is the address of a port of 127.0.0.1.
func Loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Package ports finds TCP ports of this machine that nobody listens on.
package ports

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// The range that is taken from. It ends below the ports that kernels give to
// outgoing connections (from 32768 on Linux, 49152 elsewhere): one of those could
// go to any client between the choice and the use, or while a server restarts.
// Worse, a client that keeps dialing the port of a dead server of this machine can
// be given that very port and so connect to itself.
const (
	lowest  = 20_000
	highest = 32_000
	tries   = 200
)

// next is where the search goes on, from a random port: a process is not given
// the same one again before the range is used up.
var next = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(rand.Uint32N(highest - lowest))
	return n
}()

// Listen listens on a port of 127.0.0.1 that no outgoing connection is given, so
// that it is free when it is listened on again.
func Listen(ctx context.Context) (net.Listener, error) {
	for range tries {
		port := lowest + int(next.Add(1)%(highest-lowest))
		if l, err := listen(ctx, port); err == nil {
			return l, nil
		}
	}
	return nil, errors.New("no free port on 127.0.0.1")
}

// AnyFree is a port of 127.0.0.1 that nobody listens on, as [Listen] finds it.
// Somebody may take it at any time after, so what uses it must be ready to try
// another.
func AnyFree(ctx context.Context) (int, error) {
	l, err := Listen(ctx)
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Check fails with the reason when the port of 127.0.0.1 can't be listened on.
func Check(ctx context.Context, port int) error {
	probe, err := listen(ctx, port)
	if err != nil {
		return err
	}
	return probe.Close()
}

// Free says whether nobody listens on the port of 127.0.0.1.
func Free(ctx context.Context, port int) bool { return Check(ctx, port) == nil }

func listen(ctx context.Context, port int) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", Loopback(port))
}

// Loopback is the address of a port of 127.0.0.1.
func Loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

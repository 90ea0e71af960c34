// Package porttest has the addresses of tests whose servers go and come back.
package porttest

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/warrenmq/warren/pkg/ports"
)

// Listen listens where a server can be started again later: no outgoing connection
// of this machine is given that port meanwhile.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := ports.Listen(t.Context())
	if err != nil {
		t.Fatalf("porttest: listen: %v", err)
	}
	return l
}

// ListenAt listens at an address of [Listen] or [Address] whose listener was closed. For a
// moment it may still be open: in a child that another goroutine has forked, until that
// executes its program.
func ListenAt(t testing.TB, address string) net.Listener {
	t.Helper()
	deadline := time.NewTimer(forked)
	defer deadline.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err == nil {
			return l
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("porttest: %v", err)
		}
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("porttest: for %v: %v", forked, err)
		}
	}
}

// forked is how long a fork may take on a machine with much to do.
const forked = 15 * time.Second

// Address is one of this machine where nobody listens, as [Listen] finds it.
func Address(t testing.TB) string {
	t.Helper()
	l := Listen(t)
	if err := l.Close(); err != nil {
		t.Fatalf("porttest: close: %v", err)
	}
	return l.Addr().String()
}

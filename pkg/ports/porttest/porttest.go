// Package porttest has the addresses of tests whose servers go and come back.
package porttest

import (
	"net"
	"testing"

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

// Address is one of this machine where nobody listens, as [Listen] finds it.
func Address(t testing.TB) string {
	t.Helper()
	l := Listen(t)
	if err := l.Close(); err != nil {
		t.Fatalf("porttest: close: %v", err)
	}
	return l.Addr().String()
}

package broker

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// maxSilence is how long a link may be silent before nothing is started on it any
// more. Who waits for a worker that is out of reach gives it longer.
const maxSilence = 10 * time.Second

var errSilent = errors.New("nothing was heard of the broker for too long: this process was stopped, or its host asleep")

// hearing is a connection that remembers when it was heard of last. A broker that
// lives is heard of every few seconds. What comes after a longer silence is old
// news from a time when others may have taken this process for gone, so it is
// not read any more.
type hearing struct {
	net.Conn
	// clock is what time it is; sinceStart but in tests.
	clock func() instant
	// running and wall are when data came last.
	running, wall atomic.Int64
	// over says that there was a silence that was too long.
	over atomic.Bool
}

// instant is a moment by both clocks, as the time that has passed since another
// one: by the clock that nobody sets, and by the host's, which goes on while the
// host is asleep.
type instant struct{ running, wall time.Duration }

func newHearing(conn net.Conn) *hearing { return &hearing{Conn: conn, clock: sinceStart()} }

// sinceStart gives the time that passes from now on.
func sinceStart() func() instant {
	start := time.Now()
	wall := start.Round(0) // without the reading of the other clock
	return func() instant {
		now := time.Now()
		return instant{now.Sub(start), now.Round(0).Sub(wall)}
	}
}

// Read implements [net.Conn].
func (h *hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if n == 0 {
		return n, err
	}
	now := h.clock()
	if h.over.Load() || h.silence(now) > maxSilence {
		h.over.Store(true)
		return 0, fmt.Errorf("read from %v: %w", h.RemoteAddr(), errSilent)
	}
	h.running.Store(int64(now.running))
	h.wall.Store(int64(now.wall))
	return n, err
}

// fresh says whether there was never a silence that was too long, this moment
// included.
func (h *hearing) fresh() bool { return !h.over.Load() && h.silence(h.clock()) <= maxSilence }

// silence is for how long nothing has been heard, by the clock that says more. A
// host's clock that was set back says nothing of what has passed: that counts as
// what it was set back by.
func (h *hearing) silence(now instant) time.Duration {
	running := now.running - time.Duration(h.running.Load())
	wall := now.wall - time.Duration(h.wall.Load())
	return max(running, wall.Abs())
}

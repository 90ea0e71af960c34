package broker

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// maxGathered bounds what waits to be written, in bytes: writers wait beyond it.
	maxGathered = 256 << 10
	// flushTimeout is for what is pending when the connection is closed.
	flushTimeout = time.Second
)

// groupWriter is a connection whose writes are gathered: what is written while
// earlier bytes are on their way shares the next system call, and mostly the next
// packet, with all else. An idle one adds no delay.
//
// A write is done once its bytes are gathered. That sending them failed is what
// the next write says, and what the reader is told by the connection's end; both
// protocols await an answer to everything that matters.
type groupWriter struct {
	net.Conn
	// timeout bounds each write to a peer that takes nothing; 0 is none.
	timeout time.Duration

	mu      sync.Mutex
	changed sync.Cond
	pending []byte
	// err is why nothing more is taken; broken says that what is pending can't be
	// written either.
	err    error
	broken bool
	done   chan struct{}
}

func newGroupWriter(conn net.Conn, timeout time.Duration) *groupWriter {
	w := &groupWriter{Conn: conn, timeout: timeout, done: make(chan struct{})}
	w.changed.L = &w.mu
	go w.run()
	return w
}

// Write implements [net.Conn]. It waits only while too much is pending.
func (w *groupWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && len(w.pending) > 0 && len(w.pending)+len(b) > maxGathered {
		w.changed.Wait()
	}
	if w.err != nil {
		return 0, w.err
	}
	w.pending = append(w.pending, b...)
	w.changed.Broadcast()
	return len(b), nil
}

// SetWriteDeadline implements [net.Conn]. It does nothing: what is written together
// can't have the deadline of one of its parts.
func (w *groupWriter) SetWriteDeadline(time.Time) error { return nil }

// Close implements [net.Conn]. What is pending is written before, if the peer
// takes it.
func (w *groupWriter) Close() error {
	w.end(net.ErrClosed, false)
	_ = w.Conn.SetWriteDeadline(time.Now().Add(flushTimeout))
	<-w.done
	return w.Conn.Close()
}

// run writes what is pending until the connection ends.
func (w *groupWriter) run() {
	defer close(w.done)
	var b []byte
	for w.await() {
		// Who is about to write as well does it before the system call.
		runtime.Gosched()
		var closing bool
		if b, closing = w.take(b); w.timeout > 0 && !closing {
			_ = w.Conn.SetWriteDeadline(time.Now().Add(w.timeout))
		}
		if _, err := w.Conn.Write(b); err != nil {
			w.end(err, true)
			// A reader that waits would not notice.
			_ = w.Conn.Close()
			return
		}
	}
}

// await waits until bytes are pending; false when none will be.
func (w *groupWriter) await() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && len(w.pending) == 0 {
		w.changed.Wait()
	}
	return len(w.pending) > 0 && !w.broken
}

// take gives what is pending, in exchange for a slice whose content is not needed
// any more, and says whether the connection is being closed.
func (w *groupWriter) take(used []byte) (taken []byte, closing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken = w.pending
	if cap(used) > maxGathered {
		used = nil
	}
	w.pending = used[:0]
	w.changed.Broadcast()
	return taken, w.err != nil
}

func (w *groupWriter) end(err error, broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.broken = w.broken || broken
	w.changed.Broadcast()
}

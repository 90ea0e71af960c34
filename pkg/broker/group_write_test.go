package broker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gate is a connection whose writes wait until they are let through.
type gate struct {
	net.Conn
	let    chan error
	begun  chan struct{}
	mu     sync.Mutex
	writes [][]byte
	closed chan struct{}
	once   sync.Once
}

func newGate() *gate {
	return &gate{let: make(chan error), begun: make(chan struct{}, 100), closed: make(chan struct{})}
}

func (g *gate) Write(b []byte) (int, error) {
	g.begun <- struct{}{}
	select {
	case err := <-g.let:
		if err != nil {
			return 0, err
		}
	case <-g.closed:
		return 0, net.ErrClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes = append(g.writes, bytes.Clone(b))
	return len(b), nil
}

// SetWriteDeadline ends the write that waits.
func (g *gate) SetWriteDeadline(time.Time) error { return g.Close() }

func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return nil
}

func (g *gate) written() [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.writes
}

func write(t *testing.T, w *groupWriter, b []byte) {
	t.Helper()
	n, err := w.Write(b)
	require.NoError(t, err)
	require.Len(t, b, n)
}

func TestWritesThatWaitGoOutTogether(t *testing.T) {
	t.Parallel()
	g := newGate()
	w := newGroupWriter(g, 0)
	write(t, w, []byte("a"))
	<-g.begun
	b := []byte("b")
	write(t, w, b)
	b[0] = 'x' // whoever writes may use its bytes again
	write(t, w, []byte("c"))
	g.let <- nil
	<-g.begun
	g.let <- nil
	require.Eventually(t, func() bool { return len(g.written()) == 2 }, 5*time.Second, time.Millisecond)
	require.Equal(t, "a", string(g.written()[0]))
	require.Equal(t, "bc", string(g.written()[1]))
	require.NoError(t, w.Close())
}

func TestAFailedWriteEndsTheConnection(t *testing.T) {
	t.Parallel()
	g := newGate()
	w := newGroupWriter(g, 0)
	write(t, w, []byte("a"))
	broken := errors.New("broken")
	g.let <- broken
	<-g.closed
	_, err := w.Write([]byte("b"))
	require.ErrorIs(t, err, broken)
	require.NoError(t, w.Close())
}

func TestWritersWaitForRoomAndForNoClosedConnection(t *testing.T) {
	t.Parallel()
	g := newGate()
	w := newGroupWriter(g, 0)
	write(t, w, []byte("a"))
	<-g.begun
	write(t, w, make([]byte, 2*maxGathered)) // a single one may be larger
	waiting := make(chan error, 1)
	go func() {
		_, err := w.Write([]byte("b"))
		waiting <- err
	}()
	g.let <- nil
	<-g.begun // what was pending is on its way, so there is room
	require.NoError(t, <-waiting)
	write(t, w, make([]byte, maxGathered-1))
	go func() {
		_, err := w.Write([]byte("c"))
		waiting <- err
	}()
	require.NoError(t, w.Close())
	require.ErrorIs(t, <-waiting, net.ErrClosed)
	_, err := w.Write([]byte("d"))
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, w.Close(), "twice")
	require.Len(t, g.written(), 1)
}

func TestClosingWritesWhatIsPending(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	w := newGroupWriter(here, 0)
	closed := make(chan error, 1)
	go func() {
		for range 3 {
			_, _ = w.Write([]byte("0123456789"))
		}
		closed <- w.Close()
	}()
	got, err := io.ReadAll(there)
	require.NoError(t, err)
	require.Len(t, got, 30)
	require.NoError(t, <-closed)
}

func TestClosingWaitsForNoPeerThatTakesNothing(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	w := newGroupWriter(here, 0)
	write(t, w, []byte("a"))
	begin := time.Now()
	require.NoError(t, w.Close())
	require.Less(t, time.Since(begin), 10*flushTimeout)
}

func TestAWriteIsBounded(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	w := newGroupWriter(here, 50*time.Millisecond)
	require.NoError(t, w.SetWriteDeadline(time.Now().Add(-time.Hour)), "nobody else's deadline counts")
	write(t, w, []byte("a"))
	_, err := there.Read(make([]byte, 1))
	require.NoError(t, err)
	write(t, w, []byte("b"))
	require.Eventually(t, func() bool {
		_, err := w.Write([]byte("c"))
		return errors.Is(err, os.ErrDeadlineExceeded)
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, w.Close())
}

// TestEveryByteOnceInOrder writes from one goroutine while the other side reads.
func TestEveryByteOnceInOrder(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	w := newGroupWriter(here, 0)
	var want bytes.Buffer
	go func() {
		for i := range 5000 {
			_, _ = w.Write(bytes.Repeat([]byte{byte(i)}, i%300))
		}
	}()
	for i := range 5000 {
		want.Write(bytes.Repeat([]byte{byte(i)}, i%300))
	}
	got := make([]byte, want.Len())
	for n := 0; n < len(got); {
		k, err := there.Read(got[n:])
		require.NoError(t, err)
		n += k
	}
	require.Equal(t, want.Bytes(), got)
	require.NoError(t, w.Close())
}

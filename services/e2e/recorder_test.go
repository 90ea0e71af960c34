package e2e

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// start is one start of a handler, as the handler itself reported it.
type start struct {
	run, attempt int
}

// recorder counts every start of a handler, outside Warren: workers write a
// line to it before they do anything. What is written survives the writer.
type recorder struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	starts map[string][]start
	// last is when a task was started last, and which of all starts that was, from 1.
	last  map[string]stamp
	total int
	conns map[net.Conn]bool
}

// stamp is a moment among all starts.
type stamp struct {
	at    time.Time
	place int
}

func newRecorder(t testing.TB) *recorder {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &recorder{listener: l, starts: map[string][]start{}, last: map[string]stamp{}, conns: map[net.Conn]bool{}}
	r.wg.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *recorder) address() string { return r.listener.Addr().String() }

func (r *recorder) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns[c] = true
		r.mu.Unlock()
		r.wg.Go(func() { r.read(c) })
	}
}

func (r *recorder) read(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		var id string
		var s start
		if _, err := fmt.Sscan(lines.Text(), &id, &s.run, &s.attempt); err != nil {
			continue // the writer was killed within a line
		}
		r.mu.Lock()
		r.starts[id] = append(r.starts[id], s)
		r.total++
		r.last[id] = stamp{time.Now(), r.total}
		r.mu.Unlock()
	}
}

// of gives the starts of a task.
func (r *recorder) of(id string) []start {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts[id]
}

// lastOf says when a task was started last; zero for never.
func (r *recorder) lastOf(id string) stamp {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[id]
}

// tasks counts the tasks that were started at least once.
func (r *recorder) tasks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.starts)
}

// all counts the starts of all tasks.
func (r *recorder) all() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

func (r *recorder) close() {
	r.listener.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

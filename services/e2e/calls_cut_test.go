package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/callmeta"
)

const (
	cutCalls   = 1000
	cutCallers = 24
	// maxCuts is how many connections of a call are cut at most: fewer than its tries.
	maxCuts = 3
	// retrying is what has grpc-go try calls again that are UNAVAILABLE.
	retrying = `{"methodConfig": [{"name": [{}], "retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.005s", "maxBackoff": "0.05s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]
	}}]}`
)

// cutter makes connections, the first of which are cut: reset at a random moment, or
// after some bytes that were sent or received.
type cutter struct {
	// resets counts those that were cut, of all cutters.
	resets *atomic.Int64

	mu   sync.Mutex
	cuts int
	last net.Conn
}

// cut resets the last connection.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(c.last)
}

func (c *cutter) reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	c.resets.Add(1)
}

func (c *cutter) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = conn
	if c.cuts == 0 {
		return conn, nil
	}
	c.cuts--
	cut := &cutConn{Conn: conn, reset: sync.OnceFunc(func() { c.reset(conn) })}
	switch rand.N(3) {
	case 0:
		time.AfterFunc(rand.N(20*time.Millisecond), cut.reset)
	case 1:
		cut.limitWrites, cut.writable = true, rand.N(500)
	default:
		// All of an answer is less, the frames of the connection's setup included.
		cut.limitReads, cut.readable = true, rand.N(300)
	}
	return cut, nil
}

// cutConn is a connection that is reset when so much has passed.
type cutConn struct {
	net.Conn

	reset                   func()
	limitReads, limitWrites bool
	// Each is used by one goroutine of the transport.
	readable, writable int
}

// Read implements [net.Conn].
func (c *cutConn) Read(b []byte) (int, error) {
	if !c.limitReads {
		return c.Conn.Read(b)
	}
	if c.readable == 0 {
		// What follows has arrived and is not read.
		var one [1]byte
		_, _ = c.Conn.Read(one[:])
		c.reset()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b[:min(len(b), c.readable)])
	c.readable -= n
	return n, err
}

// Write implements [net.Conn].
func (c *cutConn) Write(b []byte) (int, error) {
	if !c.limitWrites || len(b) <= c.writable {
		c.writable -= len(b)
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:c.writable])
	c.writable = 0
	c.reset()
	return n, net.ErrClosed
}

// tries sees the tries of one call.
type tries struct {
	// headed is called at each header; nil is nobody.
	headed func()

	mu  sync.Mutex
	all []*try
}

// try is one of them: what the client knows of it.
type try struct {
	// sent: the whole request was written. header: the gateway's header came back, with
	// the task's id.
	sent, header bool
}

type tryKey struct{}

// TagRPC implements [stats.Handler].
func (r *tries) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, new(try))
	return context.WithValue(ctx, tryKey{}, r.all[len(r.all)-1])
}

// HandleRPC implements [stats.Handler].
func (r *tries) HandleRPC(ctx context.Context, s stats.RPCStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := ctx.Value(tryKey{}).(*try)
	switch s := s.(type) {
	case *stats.OutPayload:
		t.sent = true
	case *stats.InHeader:
		if t.header = len(s.Header.Get(callmeta.KeyTaskID)) > 0; r.headed != nil {
			r.headed()
		}
	}
}

// TagConn implements [stats.Handler].
func (r *tries) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (r *tries) HandleConn(context.Context, stats.ConnStats) {}

// cutCall is one call and what became of it.
type cutCall struct {
	tries  tries
	header metadata.MD
	err    error
}

// do calls once, over connections of its own. The client tries again by itself.
func (c *cutCall) do(t testing.TB, p *platform, cutting *cutter, d time.Duration, pairs ...string) {
	conn, err := grpc.NewClient("passthrough:///"+p.address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(cutting.dial),
		grpc.WithDefaultServiceConfig(retrying), grpc.WithStatsHandler(&c.tries), grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: time.Second, Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond},
		}))
	if c.err = err; err != nil {
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(with(t.Context(), pairs...), 30*time.Second)
	defer cancel()
	_, c.err = faults(conn).Delay(ctx, delay(d), grpc.Header(&c.header), grpc.WaitForReady(true))
}

// someCuts cuts the first connections.
func someCuts(resets *atomic.Int64) *cutter {
	return &cutter{resets: resets, cuts: 1 + rand.N(maxCuts)}
}

// cutDelay is what the tasks take.
const cutDelay = 2 * time.Millisecond

// cutPlatform is a platform for calls that are cut.
func cutPlatform(t *testing.T) *platform {
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "64")
	p.awaitReady(t, typeDelay)
	return p
}

// callEach makes n calls, some at a time.
func callEach(n int, call func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(cutCallers)
	for i := range n {
		g.Go(func() error { return call(i) })
	}
	return g.Wait()
}

// tasksOfCalls gives the tasks of each call, which all end well and are started once.
func (p *platform) tasksOfCalls(t *testing.T) map[int][]string {
	t.Helper()
	of := map[int][]string{}
	for _, task := range p.listed(t, "labels.check = cut") {
		i, err := strconv.Atoi(task.Labels["call"])
		require.NoError(t, err)
		of[i] = append(of[i], task.TaskId)
		require.Equal(t, succeeded, p.await(t, task.TaskId).State)
	}
	return of
}

func cutLabels(i int) []string {
	return []string{callmeta.KeyLabels, fmt.Sprintf("check=cut,call=%d", i)}
}

// With an idempotency key a call is one task, wherever its connections are cut and
// however often its gateway is killed.
func TestCallCutAnywhereIsOneTaskByItsKey(t *testing.T) {
	t.Parallel()
	p := cutPlatform(t)
	var resets, again, answered atomic.Int64
	ids := make([]string, cutCalls)
	done := make(chan error, 1)
	go func() {
		done <- callEach(cutCalls, func(i int) error {
			for ctx := calling(t, 60*time.Second); ; again.Add(1) {
				var c cutCall
				c.do(t, p, someCuts(&resets), cutDelay, append(cutLabels(i), callmeta.KeyIdempotencyKey, fmt.Sprintf("cut %d", i))...)
				if c.err == nil {
					ids[i] = c.header.Get(callmeta.KeyTaskID)[0]
					answered.Add(1)
					return nil
				}
				if status.Code(c.err) != codes.Unavailable || ctx.Err() != nil {
					return fmt.Errorf("call %d: %w", i, c.err)
				}
			}
		})
	}()
	kills := 0
	var err error
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-time.After(rand.N(50 * time.Millisecond)):
			// Spread over the calls, however fast they are.
			if answered.Load() >= int64((kills+1)*cutCalls/12) && kills < 10 {
				p.gateway.kill()
				p.startGateway(t)
				kills++
			}
		}
	}
	require.NoError(t, err)
	tasks := p.tasksOfCalls(t)
	require.Len(t, tasks, cutCalls)
	for i, id := range ids {
		require.Equal(t, []string{id}, tasks[i], "call %d", i)
		require.Len(t, p.recorder.of(id), 1)
	}
	t.Logf("%d calls, %d connections cut, %d kills of the gateway, %d calls repeated by hand: %d tasks", cutCalls, resets.Load(), kills, again.Load(), len(tasks))
	require.Equal(t, 10, kills)
	require.Greater(t, resets.Load(), int64(cutCalls/2))
}

// Without a key, a call is not tried again once its task's id has arrived, and is one
// task then. What can't be told apart is a cut before the task was accepted, after
// which a try is due, and one in the moment between that and the header's arrival:
// there may be a task for each try that was sent in full and had no header.
func TestCallCutAfterItsHeaderIsOneTask(t *testing.T) {
	t.Parallel()
	p := cutPlatform(t)
	var resets atomic.Int64
	calls := make([]cutCall, cutCalls)
	require.NoError(t, callEach(cutCalls, func(i int) error {
		c := &calls[i]
		if c.do(t, p, someCuts(&resets), cutDelay, cutLabels(i)...); c.err != nil && status.Code(c.err) != codes.Unavailable {
			return fmt.Errorf("call %d: %w", i, c.err)
		}
		return nil
	}))
	tasks := p.tasksOfCalls(t)
	answered, headed, single, lost, extra := 0, 0, 0, 0, 0
	for i := range calls {
		c := &calls[i]
		if c.err == nil {
			answered++
		}
		possible := c.mayHave(t, tasks[i])
		require.LessOrEqual(t, len(tasks[i]), possible, "call %d", i)
		if len(c.header) > 0 {
			headed++
			lost += possible - 1
			extra += len(tasks[i]) - 1
		}
		if len(tasks[i]) == 1 {
			single++
		}
	}
	t.Logf("%d calls, %d connections cut: %d answered, %d with a task's id, %d one task; %d tries before those were lost without a header, and %d of them had been accepted",
		cutCalls, resets.Load(), answered, headed, single, lost, extra)
	require.Greater(t, resets.Load(), int64(cutCalls/2))
	require.Greater(t, headed, cutCalls*9/10)
}

// mayHave is how many tasks a call may have: one for each try that was sent in full, of
// which none follows one with a header.
func (c *cutCall) mayHave(t *testing.T, tasks []string) (n int) {
	t.Helper()
	for i, try := range c.tries.all {
		if try.header {
			require.Equal(t, len(c.tries.all)-1, i, "it is tried again after its header")
		}
		if try.sent {
			n++
		}
	}
	header := c.header.Get(callmeta.KeyTaskID)
	if len(header) == 0 {
		require.Error(t, c.err)
		return n
	}
	require.Contains(t, tasks, header[0])
	return n
}

// A call that is cut while it waits, its id having arrived, is one try and one task, key
// or no key.
func TestCallCutWhileItWaitsIsOneTask(t *testing.T) {
	t.Parallel()
	p := cutPlatform(t)
	const n = 100
	var resets atomic.Int64
	calls := make([]cutCall, n)
	require.NoError(t, callEach(n, func(i int) error {
		c, cutting := &calls[i], &cutter{resets: &resets}
		c.tries.headed = cutting.cut
		c.do(t, p, cutting, 200*time.Millisecond, cutLabels(i)...)
		if status.Code(c.err) != codes.Unavailable || len(c.tries.all) != 1 {
			return fmt.Errorf("call %d, after %d tries: %w", i, len(c.tries.all), c.err)
		}
		return nil
	}))
	tasks := p.tasksOfCalls(t)
	require.Len(t, tasks, n)
	for i := range calls {
		require.Equal(t, calls[i].header.Get(callmeta.KeyTaskID), tasks[i])
	}
}

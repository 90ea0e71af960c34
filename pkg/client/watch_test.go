package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/client"
)

// texts are updates in short.
func texts(t *testing.T, updates func(func(*client.Update, error) bool)) (out []string) {
	t.Helper()
	for u, err := range updates {
		require.NoError(t, err)
		require.NotEmpty(t, u.ResumeToken)
		switch {
		case u.Snapshot != nil:
			out = append(out, fmt.Sprintf("snapshot %d", u.Snapshot.Version))
		case u.Event != nil:
			out = append(out, fmt.Sprintf("event %d", u.Event.Number))
		case u.Progress != nil:
			out = append(out, "progress "+u.Progress.Message)
		}
	}
	return out
}

func TestWatch(t *testing.T) {
	t.Parallel()
	ctx, _, c := begin(t, hooks{})
	task := submit(ctx, t, c)
	require.Equal(t, []string{"event 1", "event 2", "event 3"}, texts(t, task.Watch(ctx)))
	// Ranging again watches again.
	updates := c.Watch(ctx, task.ID())
	for range 2 {
		require.Equal(t, []string{"snapshot 3"}, texts(t, updates))
	}
	require.Equal(t, []string{"event 3"}, texts(t, task.Watch(ctx, client.FromToken(token(task.ID(), 2)))))
	require.Empty(t, texts(t, task.Watch(ctx, client.FromToken(token(task.ID(), 3)))))
}

func TestWatchAsItHappens(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{hold: true})
	task := submit(ctx, t, c)
	var seen []string
	for u, err := range c.Watch(ctx, task.ID(), client.FullView()) {
		require.NoError(t, err)
		switch {
		case u.Snapshot != nil:
			seen = append(seen, "snapshot")
			g.add(task.ID(), started)
		case u.Event.GetNumber() == 2:
			seen = append(seen, "started")
			g.update(task.ID(), func(t *taskv1.Task) { t.Progress = &taskv1.Progress{Message: "half"} })
		case u.Progress != nil:
			seen = append(seen, u.Progress.Message)
			// The new connection shows it again.
			g.cut()
			g.add(task.ID(), ended(nil))
		case u.Event != nil:
			seen = append(seen, u.Event.State.String())
		}
	}
	require.Equal(t, []string{"snapshot", "started", "half", "TASK_STATE_SUCCEEDED"}, seen)
}

func TestWatchIsLeft(t *testing.T) {
	t.Parallel()
	ctx, _, c := begin(t, hooks{hold: true})
	for range submit(ctx, t, c).Watch(ctx) {
		break
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{hold: true})
	last := func(updates func(func(*client.Update, error) bool)) (last error) {
		for u, err := range updates {
			require.NoError(t, last, "an error comes last")
			if last = err; err != nil {
				require.Nil(t, u)
			}
		}
		return last
	}
	require.Equal(t, codes.NotFound, status.Code(last(c.Watch(ctx, unknownID))))

	task := submit(ctx, t, c)
	require.Equal(t, codes.InvalidArgument, status.Code(last(task.Watch(ctx, client.FromToken("x/1")))))

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.Equal(t, codes.DeadlineExceeded, status.Code(last(task.Watch(short))))

	g.Close()
	short, cancel = context.WithCancel(ctx)
	time.AfterFunc(200*time.Millisecond, cancel)
	require.Equal(t, codes.Canceled, status.Code(last(task.Watch(short))))
}

// A gateway that always leaves something out is given up.
func TestWatchOfAGap(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{watched: func(_ func(*taskv1.WatchTaskResponse) error, m *taskv1.WatchTaskResponse) (bool, error) {
		return m.GetEvent().GetNumber() == 2, nil
	}})
	task := submit(ctx, t, c)
	var seen []int64
	var last error
	for u, err := range task.Watch(ctx) {
		if last = err; err == nil {
			seen = append(seen, u.Event.Number)
		}
	}
	require.Equal(t, []int64{1}, seen)
	require.ErrorContains(t, last, "left out events of task "+task.ID()+": number 3 came after 1")
	require.Equal(t, 6, g.waits)
}

// fault is what happens to a watch.
type fault int

const (
	faultCut fault = iota
	faultCutBefore
	faultRestart
	faultStopping
	faultReset
	faultTwice
	faultGap
	faults
)

// chaos has faults happen to a watch, by chance.
type chaos struct {
	g *gateway

	mu   sync.Mutex
	rand *rand.Rand
	left int
	// seen is the last event that the watcher has seen, of which news tells.
	seen     int64
	news     *sync.Cond
	happened [faults]int
	restarts sync.WaitGroup
}

func (c *chaos) watched(send func(*taskv1.WatchTaskResponse) error, m *taskv1.WatchTaskResponse) (skip bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 || c.rand.IntN(10) > 0 {
		return false, nil
	}
	// What was sent is mostly seen before, else connections would bring nothing, and
	// the waits between them would grow; and is sometimes lost.
	for before := m.GetEvent().GetNumber() - 1; c.seen < before && c.rand.IntN(8) > 0; {
		c.news.Wait()
	}
	// Others have waited too.
	if c.left == 0 {
		return false, nil
	}
	f := fault(c.rand.IntN(int(faults)))
	if c.rand.IntN(2) == 0 {
		f %= faultRestart + 1
	}
	c.happened[f]++
	if f <= faultRestart {
		c.left--
	}
	switch f {
	case faultCut:
		err = send(m)
		c.g.cut()
		return true, err
	case faultCutBefore:
		c.g.cut()
	case faultRestart:
		c.restarts.Wait()
		c.restarts.Go(c.g.restart)
	case faultStopping:
		return true, reason(codes.Unavailable, "SHUTTING_DOWN", "")
	case faultReset:
		return true, status.Error(codes.Internal, "stream terminated by RST_STREAM with error code: INTERNAL_ERROR")
	case faultTwice:
		err = send(m)
	case faultGap:
		if e := m.GetEvent(); e != nil {
			later := proto.CloneOf(e)
			later.Number++
			return true, send(&taskv1.WatchTaskResponse{Update: &taskv1.WatchTaskResponse_Event{Event: later}, ResumeToken: "lost"})
		}
	}
	return false, err
}

// see notes what the watcher has seen, and says whether all faults have happened.
func (c *chaos) see(number int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = number
	c.news.Broadcast()
	return c.left == 0
}

// Connections are cut and the gateway is started anew 200 times in the midst of a
// watch, which shows every event once and in order.
func TestWatchAcrossCuts(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &chaos{rand: rand.New(rand.NewPCG(seed, 0)), left: 200}
	c.news = sync.NewCond(&c.mu)
	h := hooks{hold: true, watched: c.watched}
	ctx, g, conn := begin(t, h, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond}, MinConnectTimeout: 5 * time.Second,
	}))
	c.g = g
	t.Cleanup(c.restarts.Wait)
	task := submit(ctx, t, conn)

	const batch = 100
	number := int64(0)
	var progress []time.Time
	for u, err := range task.Watch(ctx) {
		require.NoError(t, err)
		require.Nil(t, u.Snapshot)
		if u.Progress != nil {
			progress = append(progress, u.Progress.Time.AsTime())
			continue
		}
		number++
		require.Equal(t, number, u.Event.Number)
		over := c.see(number)
		if number%batch != 1 {
			continue
		}
		g.update(task.ID(), func(t *taskv1.Task) { t.Progress = &taskv1.Progress{Time: timestamppb.Now()} })
		if over {
			g.add(task.ID(), ended(nil))
			continue
		}
		for range batch {
			g.add(task.ID(), started)
		}
	}
	require.Equal(t, taskState(ctx, t, conn, task.ID()).Version, number)
	require.IsIncreasing(t, progress)
	t.Logf("%d events, faults %v", number, c.happened)
	require.GreaterOrEqual(t, c.happened[faultCut]+c.happened[faultCutBefore]+c.happened[faultRestart], 200)
}

func taskState(ctx context.Context, t *testing.T, c *client.Client, id string) *taskv1.Task {
	t.Helper()
	task, err := c.Task(ctx, id)
	require.NoError(t, err)
	return task
}

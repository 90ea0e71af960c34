package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// Size of the drill.
const (
	drillTasks      = 10_000
	drillSubmitters = 64
	drillWatchers   = 50
	// drillSpan is how long submitting is spread over, so that every fault hits
	// a platform at work.
	drillSpan = 16 * time.Second
	// storeOutage is how long the store can't be written.
	storeOutage = 10 * time.Second
)

// drill is one run of the platform under faults, and what was seen of it.
type drill struct {
	seed int64
	node *rabbitnode.Node
	p    *platform

	mu       sync.Mutex
	accepted []string
	// notFound are accepted ids that were answered NOT_FOUND.
	notFound []string
	// problems are what watchers saw that they must not see.
	problems []string

	// ends are the accepted tasks as they ended.
	ends map[string]end

	unknown, refused, watched, cuts, released atomic.Int64
	// brokerTurns counts the broker's ends and returns: it is odd while it is away.
	brokerTurns atomic.Int64
	// mustGiveBack says that the worker was drained while it executed what outlasts its
	// grace and the broker was there, so that it could give that back.
	mustGiveBack atomic.Bool
}

// end is how one task ended.
type end struct {
	task     *taskv1.Task
	err      error
	attempts []*taskv1.TaskAttempt
	starts   []start
}

// drills keeps the drills of this run of the tests, one for each seed: several
// promises look at the same one.
var drills = struct {
	sync.Mutex
	done map[int64]*drill
}{done: map[int64]*drill{}}

// eachDrill checks something of the drill of every seed.
func eachDrill(t *testing.T, check func(*testing.T, *drill)) {
	for i := range *seeds {
		seed := *baseSeed + int64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { check(t, theDrill(t, seed)) })
	}
}

// theDrill runs the drill of a seed, or gives the one that was run. Its
// processes end with the test that ran it; what was seen of it stays.
func theDrill(t *testing.T, seed int64) *drill {
	drills.Lock()
	defer drills.Unlock()
	if d := drills.done[seed]; d != nil {
		return d
	}
	d := runDrill(t, seed)
	drills.done[seed] = d
	return d
}

func runDrill(t *testing.T, seed int64) *drill {
	d := &drill{seed: seed, ends: map[string]end{}, node: brokertest.StartNode(t, rabbitnode.NodeConfig{})}
	b := brokertest.VHostOn(t, d.node)
	d.p = newPlatform(t, b.URL)
	// Two workers; handlers of the one that will be drained outlast its grace.
	victim := d.p.startWorker(t, "--concurrency", "16")
	drained := d.p.startWorker(t, "--concurrency", "16", "--grace", "100ms")
	d.p.awaitReady(t, typeDelay)
	d.p.awaitReady(t, typeStream)
	// A queue that was declared within the last second may be empty after kill -9.
	require.NoError(t, d.node.Sync(t.Context()))

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	begin := time.Now()
	var work, watch sync.WaitGroup
	probing, stopProbing := context.WithCancel(ctx)
	defer stopProbing()
	probes := d.probe(probing)
	work.Go(func() { d.faults(t, ctx, victim, drained) })
	for i := range drillSubmitters {
		work.Go(func() { d.submitter(ctx, i) })
	}
	for i := range drillWatchers {
		watch.Go(func() { d.watcher(ctx, i) })
	}
	work.Wait()
	submitted := time.Since(begin)
	watch.Wait()
	d.finish(t, ctx)
	stopProbing()
	probes.Wait()
	t.Logf("seed %d: %d accepted in %.1f s, all ended after %.1f s; %d unknown, %d refused; %d watches cut off; %d executions released",
		seed, len(d.accepted), submitted.Seconds(), time.Since(begin).Seconds(), d.unknown.Load(), d.refused.Load(), d.cuts.Load(), d.released.Load())
	return d
}

func (d *drill) rand(stream int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(d.seed), uint64(stream)))
}

// submitter submits its share, evenly over the span, until all of it is
// accepted.
func (d *drill) submitter(ctx context.Context, n int) {
	r := d.rand(n)
	share := drillTasks / drillSubmitters
	if n < drillTasks%drillSubmitters {
		share++
	}
	pace := drillSpan / time.Duration(share)
	begin := time.Now()
	for i := 0; i < share && ctx.Err() == nil; {
		if wait(ctx, time.Until(begin.Add(time.Duration(i)*pace))) != nil {
			return
		}
		if d.submitOne(ctx, typeDelay, delay(time.Duration(r.Int64N(int64(20*time.Millisecond))))) != nil {
			i++
		}
	}
}

// submitOne gives the task if it was accepted.
func (d *drill) submitOne(ctx context.Context, taskType string, m proto.Message) *taskv1.Task {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := d.p.tasks.SubmitTask(call, &taskv1.SubmitTaskRequest{Type: taskType, Payload: a})
	if err == nil {
		d.mu.Lock()
		d.accepted = append(d.accepted, r.Task.TaskId)
		d.mu.Unlock()
		return r.Task
	}
	if reasonOf(err) == "NOT_SUBMITTED" {
		d.refused.Add(1)
	} else {
		d.unknown.Add(1)
	}
	_ = wait(ctx, 50*time.Millisecond)
	return nil
}

// probe asks for accepted tasks all the time: none may be NOT_FOUND.
func (d *drill) probe(ctx context.Context) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := d.rand(2000 + i)
			for ctx.Err() == nil {
				id := d.anyAccepted(r)
				if id == "" {
					_ = wait(ctx, 10*time.Millisecond)
					continue
				}
				call, cancel := context.WithTimeout(ctx, 5*time.Second)
				_, err := d.p.tasks.GetTask(call, &taskv1.GetTaskRequest{TaskId: id})
				cancel()
				if status.Code(err) == codes.NotFound {
					d.mu.Lock()
					d.notFound = append(d.notFound, id)
					d.mu.Unlock()
				}
				_ = wait(ctx, time.Duration(r.Int64N(int64(5*time.Millisecond))))
			}
		})
	}
	return &wg
}

// anyAccepted prefers what was accepted just now.
func (d *drill) anyAccepted(r *rand.Rand) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.accepted)
	switch {
	case n == 0:
		return ""
	case r.IntN(2) == 0:
		return d.accepted[n-1]
	}
	return d.accepted[r.IntN(n)]
}

// watcher submits a streaming task and watches it to its end, cut off at
// random: it must see every number once and in order.
func (d *drill) watcher(ctx context.Context, n int) {
	r := d.rand(3000 + n)
	_ = wait(ctx, time.Duration(r.Int64N(int64(drillSpan*8/10))))
	var t *taskv1.Task
	for t == nil && ctx.Err() == nil {
		t = d.submitOne(ctx, typeStream, &demov1.ContactSheetRequest{Columns: 20, CellSize: int32(20 + r.IntN(200))})
	}
	if t == nil {
		return
	}
	w := &observer{id: t.TaskId, token: t.ResumeToken}
	for !w.ended && ctx.Err() == nil {
		cut, cancel := context.WithTimeout(ctx, time.Duration(r.Int64N(int64(1500*time.Millisecond))))
		err := w.watch(cut, d.p.tasks)
		cancel()
		if err != nil {
			d.cuts.Add(1)
			if code := status.Code(err); code == codes.NotFound || code == codes.InvalidArgument {
				w.problems = append(w.problems, err.Error())
				break
			}
			_ = wait(ctx, time.Duration(r.Int64N(int64(20*time.Millisecond))))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !w.ended {
		w.problems = append(w.problems, "the watch of "+w.id+" never ended")
	}
	d.problems = append(d.problems, w.problems...)
	d.watched.Add(1)
}

// observer is a watcher's memory.
type observer struct {
	id, token string
	number    int64
	state     taskv1.TaskState
	ended     bool
	problems  []string
}

// watch follows the task until its end, or until it is cut off.
func (w *observer) watch(ctx context.Context, tasks taskv1.TaskServiceClient) error {
	stream, err := tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{TaskId: w.id, ResumeToken: w.token})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			w.ended = true
			if w.state != taskv1.TaskState_TASK_STATE_SUCCEEDED {
				w.problems = append(w.problems, fmt.Sprintf("the watch of %s ended in state %v", w.id, w.state))
			}
			return nil
		}
		if err != nil {
			return err
		}
		e := m.GetEvent()
		if e.GetNumber() != w.number+1 {
			w.problems = append(w.problems, fmt.Sprintf("%s: number %d came after %d: %v", w.id, e.GetNumber(), w.number, m))
		}
		if terminal(w.state) && e.GetState() != w.state && !e.GetCorrection() {
			w.problems = append(w.problems, fmt.Sprintf("%s: %v after the terminal %v", w.id, e.State, w.state))
		}
		w.number, w.state, w.token = e.GetNumber(), e.GetState(), m.ResumeToken
	}
}

func terminal(s taskv1.TaskState) bool { return s >= taskv1.TaskState_TASK_STATE_SUCCEEDED }

// finish waits until every accepted task has ended, or until it is clear that
// some do not, and reads what became of them while the platform is up.
func (d *drill) finish(t *testing.T, ctx context.Context) {
	queue := make(chan string)
	var wg sync.WaitGroup
	for range drillSubmitters {
		wg.Go(func() {
			for id := range queue {
				d.examine(ctx, id)
			}
		})
	}
	for _, id := range d.accepted {
		queue <- id
	}
	close(queue)
	wg.Wait()
	require.NoError(t, ctx.Err(), "the drill took too long")
}

// examine waits for one task's end.
func (d *drill) examine(ctx context.Context, id string) {
	var e end
	for try := 0; try < 20 && ctx.Err() == nil; try++ {
		call, cancel := context.WithTimeout(ctx, 40*time.Second)
		var r *taskv1.WaitTaskResponse
		r, e.err = d.p.tasks.WaitTask(call, &taskv1.WaitTaskRequest{TaskId: id})
		if e.task = r.GetTask(); e.err == nil {
			var a *taskv1.ListTaskAttemptsResponse
			a, e.err = d.p.tasks.ListTaskAttempts(call, &taskv1.ListTaskAttemptsRequest{TaskId: id})
			e.attempts = a.GetAttempts()
		}
		cancel()
		if e.err == nil {
			break
		}
		_ = wait(ctx, 100*time.Millisecond)
	}
	e.starts = d.p.recorder.of(id)
	for _, a := range e.attempts {
		if a.Outcome == taskv1.AttemptOutcome_ATTEMPT_OUTCOME_RELEASED {
			d.released.Add(1)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ends[id] = e
}

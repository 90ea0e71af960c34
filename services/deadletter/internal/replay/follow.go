package replay

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/wake"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Following asks the gateway for replays whose turn it is, many with one question. The
// longer a replay has been going on, the more seldom it is asked for.
const (
	minAsk = 50 * time.Millisecond
	maxAsk = 15 * time.Second
	// askShare is that of a replay's age which passes between two questions.
	askShare = 8
	// minAsked is how many are asked for with one question at least, if so many are due,
	// and maxAsked at most: more while most of them have ended, fewer while few have.
	// Those that began first come first, and mostly end first: to ask for all of a
	// thousand that run, again and again, takes more than to run them.
	minAsked = 16
	// restShare times as long as an answer took nothing is asked, so that a gateway which
	// has much to do is left to do it; at most maxRest.
	restShare = 3
	maxRest   = time.Second
	// askAgain is the wait after a question that was not answered.
	askAgain = time.Second
	// A sweep reads from the store what is to be followed, in pages, for what this
	// process does not know of. Between two pages, and between two sweeps, it rests.
	sweepPage   = 500
	sweepRest   = 20 * time.Millisecond
	sweepPeriod = time.Minute
)

// follower learns how replays end.
type follower struct {
	r    *Replayer
	news chan struct{}

	// share is how many are asked for next. It is the goroutine's that asks.
	share int

	mu sync.Mutex
	// queue has what is followed by when it is asked for next, known their ids.
	queue followed
	known map[string]bool
}

func newFollower(r *Replayer) *follower {
	return &follower{r: r, news: make(chan struct{}, 1), known: map[string]bool{}, share: minAsked}
}

// watched is an intent that is followed.
type watched struct {
	id, deadLetterID string
	run              int
	begun, next      time.Time
}

// followed is a heap.
type followed []watched

func (f followed) Len() int           { return len(f) }
func (f followed) Less(i, j int) bool { return f[i].next.Before(f[j].next) }
func (f followed) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }

// Push implements [heap.Interface].
func (f *followed) Push(x any) { *f = append(*f, x.(watched)) }

// Pop implements [heap.Interface].
func (f *followed) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// add follows intents that were published.
func (f *follower) add(intents ...store.Intent) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range intents {
		x := &intents[i]
		if !f.known[x.ID] {
			f.known[x.ID] = true
			heap.Push(&f.queue, watched{x.ID, x.DeadLetterID, x.Run, x.Time, now.Add(minAsk)})
		}
	}
	wake.Signal(f.news)
}

// run learns how replays end, until ctx does. Its questions are in no trace: each would
// be one of its own.
func (f *follower) run(ctx context.Context) {
	ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { f.sweepAll(ctx) })
	var logged time.Time
	for ctx.Err() == nil {
		due, wait := f.due(time.Now())
		if len(due) == 0 {
			await(ctx, f.news, wait)
			continue
		}
		began := time.Now()
		err := f.learn(ctx, due)
		if err != nil && ctx.Err() == nil && time.Since(logged) >= logPeriod {
			f.r.log.WarnContext(ctx, "the outcome of replays can't be learned now", "error", err)
			logged = time.Now()
		}
		pause(ctx, min(restShare*time.Since(began), maxRest))
	}
}

// due takes what is to be asked for now, as much as its share is, or else says how long
// nothing is. What is due soon goes along, so that questions are few.
func (f *follower) due(now time.Time) ([]watched, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return nil, maxAsk
	}
	if wait := f.queue[0].next.Sub(now); wait > 0 {
		return nil, wait
	}
	var due []watched
	for len(f.queue) > 0 && len(due) < f.share && f.queue[0].next.Before(now.Add(minAsk/2)) {
		due = append(due, heap.Pop(&f.queue).(watched))
	}
	return due, 0
}

// again asks for what is left of some later.
func (f *follower) again(left []watched, next func(*watched) time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range left {
		left[i].next = next(&left[i])
		heap.Push(&f.queue, left[i])
	}
}

// drop follows some no more.
func (f *follower) drop(done []watched) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range done {
		delete(f.known, done[i].id)
	}
}

// learn asks how replays stand, and resolves the dead letters of those that have ended
// well. Those that have died come in as dead letters.
func (f *follower) learn(ctx context.Context, due []watched) error {
	ids := make([]string, len(due))
	for i := range due {
		ids[i] = due[i].deadLetterID
	}
	known, err := f.r.tasksOf(ctx, ids)
	later := func(*watched) time.Time { return time.Now().Add(askAgain) }
	if err != nil {
		f.again(due, later)
		return err
	}
	var ended []store.Ended
	var done, left []watched
	for _, x := range due {
		t := known[x.deadLetterID]
		// A task that the gateway does not know any more may have ended in any way.
		current := t != nil && int(t.Run) >= x.run
		switch {
		case current && endedWell(t) != 0:
			ended = append(ended, store.Ended{DeadLetterID: x.deadLetterID, Run: x.run, Outcome: endedWell(t)})
			done = append(done, x)
		case current && t.State == taskv1.TaskState_TASK_STATE_DEAD_LETTERED:
			// A sweep finds it again should it not come in.
			f.drop([]watched{x})
		default:
			left = append(left, x)
		}
	}
	f.adapt(len(due), len(due)-len(left))
	now := time.Now()
	f.again(left, func(x *watched) time.Time { return now.Add(askPeriod(now.Sub(x.begun))) })
	resolved, err := f.r.cfg.Store.ResolveAll(ctx, ended)
	if err != nil {
		f.again(done, later)
		return err
	}
	f.drop(done)
	for i, yes := range resolved {
		if t := known[ended[i].DeadLetterID]; yes {
			f.r.logOf(t.TaskId, t.Type, ended[i].Run).DebugContext(ctx, "dead letter resolved", "task_state", stateName(t))
		}
	}
	return nil
}

// adapt has as much asked for next as was worth it now, of which so many had ended.
func (f *follower) adapt(asked, ended int) {
	switch {
	case 4*ended >= 3*asked:
		f.share = min(2*f.share, maxAsked)
	case 2*ended < asked:
		f.share = max(f.share/2, minAsked)
	}
}

// askPeriod is the time to the next question for a replay of an age.
func askPeriod(age time.Duration) time.Duration { return min(max(age/askShare, minAsk), maxAsk) }

// sweepAll follows what is published in the store, and not known here.
func (f *follower) sweepAll(ctx context.Context) {
	for ctx.Err() == nil {
		rest := sweepPeriod
		if err := f.sweep(ctx); err != nil {
			rest = askAgain
		}
		pause(ctx, rest)
	}
}

func (f *follower) sweep(ctx context.Context) error {
	for after := int64(0); ; {
		page, err := f.r.cfg.Store.Intents(ctx, store.IntentPublished, after, sweepPage)
		if err != nil {
			return err
		}
		f.add(page...)
		if len(page) < sweepPage {
			return nil
		}
		after = page[len(page)-1].Sequence
		pause(ctx, sweepRest)
	}
}

package later

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/wake"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// lease is how long a task that was taken is nobody else's.
	lease = 10 * time.Second
	// publishWithin bounds publishing a task that was taken, so that it is known
	// what became of it before the lease ends.
	publishWithin = 8 * time.Second
	// maxSleep is how long a jump of the clock can stay unnoticed, and a task that
	// another process has put into the store.
	maxSleep = time.Second
	// together is for how long tasks are gathered that come one after the other: those
	// that become due after a take, to be taken in one transaction, and those that are
	// published, to be forgotten in one. A task that comes alone does not wait.
	together = 20 * time.Millisecond
	// useless is between two takes of which the first was of no use: leases that nobody
	// needs make takes slow.
	useless = 100 * time.Millisecond
	// maxTake bounds the tasks that are taken at once.
	maxTake = 500
	// maxHeld bounds the tasks that were taken and are not forgotten by the store
	// yet, and maxHeldBytes their messages; the last take may exceed it.
	maxHeld      = 8000
	maxHeldBytes = 64 << 20
	// share is which part of what is free a line may hold, one of so many: a queue that
	// takes none must leave room for others.
	share = 8
	// probe is how many tasks a line holds whose queue takes nothing.
	probe = 16
	// fullDelay is after how long a full queue is worth another try.
	fullDelay = time.Second
	// stopWithin bounds what goes on after the end: what is being published then, and
	// having it forgotten, so that it is not published again by the next.
	stopWithin = 2 * time.Second
	// logPeriod is the time between two log lines about the same trouble.
	logPeriod = 10 * time.Second
)

var (
	// ErrFull says that a queue is at its limit: nothing was published.
	ErrFull = errors.New("the queue is at its limit")
	// ErrNotPublished says that nothing was published, for another reason.
	ErrNotPublished = errors.New("not published")
)

// Store keeps the tasks that wait for their time, as store.Store says.
type Store interface {
	TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int, most map[string]int) ([]store.Due, time.Time, error)
	Unschedule(ctx context.Context, ids []string) error
	Task(ctx context.Context, id string) (task.Task, error)
}

// Task is one whose time has come.
type Task struct {
	Message *broker.TaskMessage
	// Again says that it may have been published before.
	Again bool
}

// Publisher puts tasks into their queues.
type Publisher interface {
	// AwaitReady waits until a publish can be tried, or until ctx ends and then says
	// why it can't.
	AwaitReady(ctx context.Context) error
	// PublishDue puts tasks of one type into their queue and has that told. As many
	// errors as tasks: nil for one of which both is confirmed, [ErrFull] for one that
	// waits for room, [ErrNotPublished]; of any other it is not known.
	PublishDue(ctx context.Context, tasks []Task) []error
	// PublishParked sets a message aside that nobody can make anything of.
	PublishParked(ctx context.Context, body []byte, problem string) error
	// Tell has a status event confirmed.
	Tell(ctx context.Context, e *task.Event) error
}

// Config is what a loop needs.
type Config struct {
	Store     Store
	Publisher Publisher
	// Clock tells what is due. Default: time.Now.
	Clock  func() time.Time
	Logger *slog.Logger
}

// Loop publishes tasks whose time has come, while its Run does.
type Loop struct {
	cfg Config
	// wake has a value when next has become earlier, freed when fewer are held.
	wake, freed chan struct{}
	// done are tasks that the store can forget. All that are held have room in it.
	done     chan string
	troubles rate.Sometimes
	// serving are the goroutines that serve lines. Run waits for them.
	serving sync.WaitGroup

	mu sync.Mutex
	// next is when the store is to be asked again, zero for nothing known.
	next time.Time
	// held are the tasks that were taken and that the store has not forgotten yet, by
	// their ids, and bytes their messages'.
	held  map[string]*held
	bytes int
	// lines are the held tasks that are to be published, by task type; closed are those
	// lines that had no room at the last take.
	lines, closed map[string]*line
}

// New makes a loop.
func New(cfg Config) *Loop {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Loop{
		cfg: cfg, wake: make(chan struct{}, 1), freed: make(chan struct{}, 1), done: make(chan string, maxHeld+maxTake),
		troubles: rate.Sometimes{Interval: logPeriod}, held: map[string]*held{}, lines: map[string]*line{}, closed: map[string]*line{},
	}
}

// Wake has the loop know of a task that is due at a time and in the store already.
// It never blocks.
func (l *Loop) Wake(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.next.IsZero() && !at.Before(l.next) {
		return
	}
	l.next = at
	wake.Signal(l.wake)
}

// Run publishes until ctx ends. Then it takes nothing any more, and what is being
// published gets 2 s.
func (l *Loop) Run(ctx context.Context) {
	// In work goes on what is begun.
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	published := make(chan struct{})
	var forgetting sync.WaitGroup
	forgetting.Go(func() { l.forget(work, published) })
	for l.sleep(ctx) && l.awaitRoom(ctx) {
		// Nothing is leased while it can't be published.
		if err := l.cfg.Publisher.AwaitReady(ctx); err == nil {
			l.take(ctx, work)
		}
	}
	timer := time.AfterFunc(stopWithin, end)
	defer timer.Stop()
	l.serving.Wait()
	close(published)
	forgetting.Wait()
}

// sleep waits until the next task is due; false says that ctx has ended. It wakes
// once a second, to look at the clock and the store anew.
func (l *Loop) sleep(ctx context.Context) bool {
	for {
		timer := time.NewTimer(l.untilNext())
		select {
		case <-timer.C:
			return ctx.Err() == nil
		case <-l.wake:
			timer.Stop()
			if l.untilNext() == 0 {
				return ctx.Err() == nil
			}
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

func (l *Loop) untilNext() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.IsZero() {
		return maxSleep
	}
	return max(0, min(l.next.Sub(l.cfg.Clock()), maxSleep))
}

// take leases what is due and hands it on.
func (l *Loop) take(ctx, work context.Context) {
	l.mu.Lock()
	l.next = time.Time{} // what Wake says from here on counts
	l.mu.Unlock()
	limit, most := l.nextTake()
	var due []store.Due
	var next, begun time.Time
	err := retry.Until(ctx, l.cfg.Logger, "taking tasks whose time has come", func() (err error) {
		begun = time.Now()
		due, next, err = l.cfg.Store.TakeDue(ctx, l.cfg.Clock(), lease, limit, most)
		return err
	})
	if err != nil {
		return
	}
	fresh := l.hold(ctx, work, due, begun.Add(publishWithin))
	if next.IsZero() {
		return
	}
	now := l.cfg.Clock()
	pause := together
	switch {
	case len(due) > 0 && fresh == 0:
		pause = useless
	case fresh > 0 && !next.After(now):
		pause = 0 // more are due already
	}
	l.Wake(later(next, now.Add(pause)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// forget has the store forget what is published, many in one transaction, until
// nothing is published any more.
func (l *Loop) forget(ctx context.Context, published <-chan struct{}) {
	for {
		select {
		case first := <-l.done:
			ids := l.gather([]string{first})
			if len(ids) < maxTake && l.hasPlenty() && retry.Pause(ctx, together) {
				ids = l.gather(ids)
			}
			l.forgetAll(ctx, ids)
		case <-published:
			for len(l.done) > 0 {
				l.forgetAll(ctx, l.gather(nil))
			}
			return
		}
	}
}

func (l *Loop) forgetAll(ctx context.Context, ids []string) {
	err := retry.Until(ctx, l.cfg.Logger, "forgetting tasks that are in their queues", func() error {
		return l.cfg.Store.Unschedule(ctx, ids)
	})
	if err == nil {
		l.release(ids...)
	}
}

// gather adds to the ids those that are done already.
func (l *Loop) gather(ids []string) []string {
	for len(ids) < maxTake {
		select {
		case id := <-l.done:
			ids = append(ids, id)
		default:
			return ids
		}
	}
	return ids
}

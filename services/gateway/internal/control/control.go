// Package control is the gateway's side of control: it takes cancellations to the
// workers and ends the tasks once no worker can start them any more; it knows which
// workers live, and what operators have set of task types' consumption.
//
// A cancellation has a position in the list of all that ever were. Workers say in
// their heartbeats up to which position they know the list. It takes effect once
// each worker that serves its type knows it and runs its task no more, or is known
// to start nothing; then the task is CANCELLED.
//
// Between gateways and workers positions are one higher than in the store, so that
// a worker which knows that there is none yet stands at 1, not at 0.
package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// refreshPeriod is how soon what another replica has stored is known here.
	refreshPeriod = time.Second
	// quietTime is after the start how long nothing takes effect, more than the time
	// between two heartbeats: by then, workers that the store does not know of have
	// been heard.
	quietTime = 3 * time.Second
	// tellTimeout bounds one message to workers, storeTimeout one use of the store.
	tellTimeout  = 5 * time.Second
	storeTimeout = 10 * time.Second
	// maxTelling bounds the messages on their way at once.
	maxTelling = 16
)

// Store is what control needs of store.Store.
type Store interface {
	store.Controls
	Task(ctx context.Context, id string) (task.Task, error)
}

// Controller tells a worker something.
type Controller interface {
	PublishControl(ctx context.Context, workerID string, m *brokerv1.ControlMessage) error
}

// Topology asks the broker on an open connection.
type Topology interface {
	Do(ctx context.Context, f func(*broker.Topology) error) error
}

// Projection is projection.Projection.
type Projection interface {
	CatchUpWithin(ctx context.Context, d time.Duration) error
	Apply(ctx context.Context, events []task.Event) error
	Cancelled(ctx context.Context, t *task.Task)
}

// Config is what control needs.
type Config struct {
	GatewayID  string
	Store      Store
	Controller Controller
	Topology   Topology
	Projection Projection
	// Policies gives a worker the policies in force for those of the types that are
	// known, as [Control.Decorate] leaves them.
	Policies func(workerID string, types []string) []*brokerv1.TypePolicy
	// Tell tells the workers of a task type its policy.
	Tell func(ctx context.Context, taskType string) error
	// Backlog is how many tasks wait in the queue of a task type; false if that is
	// not known.
	Backlog func(ctx context.Context, taskType string) (ready int64, ok bool)
	Logger  *slog.Logger
}

// Control is one gateway's part in it. Its methods are safe for concurrent use.
type Control struct {
	cfg Config

	// lookAt looks at control queues, and returns at how many it did.
	lookAt func(ctx context.Context, targets []target) (int, error)

	// loadedOnce is closed when everything was read from the store.
	loadedOnce chan struct{}
	// keepNow, tellNow and settleNow wake the loops of those names.
	keepNow, tellNow, settleNow chan struct{}
	troubles                    troubles

	// refreshing has a value while cancellations are read.
	refreshing chan struct{}
	// setting has a value while what operators have set is read or changed.
	setting chan struct{}

	mu     sync.Mutex
	loaded time.Time
	// listening is since when heartbeats arrive.
	listening time.Time
	book      book
	// known is the position of the store up to which all cancellations are in the
	// book, knownAt when reading it was begun.
	known    int64
	knownAt  time.Time
	settings map[settingKey]*setting
	workers  map[string]*worker
	// ended is closed, and made anew, whenever cancellations came to their end.
	ended chan struct{}
	// forgot is when it was last looked for what need not be known.
	forgot time.Time
	// behindSince is since when the projection does not catch up; zero if it does.
	behindSince time.Time
	// streaks are of the types that are scaled.
	streaks map[string]streak
}

// New makes a control. Run does its work.
func New(cfg Config) *Control {
	c := &Control{
		cfg: cfg, refreshing: make(chan struct{}, 1), setting: make(chan struct{}, 1), loadedOnce: make(chan struct{}), ended: make(chan struct{}),
		keepNow: make(chan struct{}, 1), tellNow: make(chan struct{}, 1), settleNow: make(chan struct{}, 1),
		book: newBook(), settings: map[settingKey]*setting{}, workers: map[string]*worker{}, streaks: map[string]streak{},
	}
	c.lookAt = c.lookAtQueues
	return c
}

// Run works until ctx ends.
func (c *Control) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, loop := range []struct {
		period time.Duration
		wake   <-chan struct{}
		do     func(context.Context)
	}{
		{refreshPeriod, c.keepNow, c.keep},
		{refreshPeriod, c.tellNow, c.tellBehind},
		{settlePeriod, c.settleNow, c.settle},
		{lookPeriod, nil, c.look},
		{scalePeriod, nil, c.scaleAll},
	} {
		running.Go(func() { every(ctx, loop.period, loop.wake, loop.do) })
	}
}

// every calls do at once and then again and again, sooner when it is woken, until
// ctx ends.
func every(ctx context.Context, period time.Duration, wake <-chan struct{}, do func(context.Context)) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		do(ctx)
		select {
		case <-wake:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Loaded says whether what is cancelled and what operators have set is known.
func (c *Control) Loaded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.loaded.IsZero()
}

// Listening says that from now on heartbeats arrive. Before, and in the first 3 s
// after it, no cancellation takes effect.
func (c *Control) Listening(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening = now
}

// quietUntil is when cancellations may take effect; false if that is not known.
func (c *Control) quietUntil() (time.Time, bool) {
	if c.loaded.IsZero() || c.listening.IsZero() {
		return time.Time{}, false
	}
	begin := c.loaded
	if c.listening.After(begin) {
		begin = c.listening
	}
	return begin.Add(quietTime), true
}

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/warrenmq/warren/services/worker/internal/discovery"
	"github.com/warrenmq/warren/services/worker/internal/target"
)

// errUnlearned: the target can be called, but it is not known what it offers.
var errUnlearned = errors.New("the target's services are not known")

// periods are the times between looks at the target.
type periods struct {
	// relearn is between two looks at the services while nothing seems to have
	// changed: a proxy hides that servers are replaced.
	relearn time.Duration
	// confirm is after which a difference must still be there to count: while
	// servers are replaced one by one, old and new answer by turns.
	confirm time.Duration
	// retry is after a look that failed, and between looks at why the target can't
	// be called.
	retry time.Duration
	// learn bounds one look.
	learn time.Duration
	// settle is how long what becomes of a lost connection is waited for, before it
	// is told as such: mostly the next one is refused at once.
	settle time.Duration
}

var defaultPeriods = periods{
	relearn: 30 * time.Second, confirm: time.Second, retry: 2 * time.Second, learn: 10 * time.Second, settle: 100 * time.Millisecond,
}

// view is what is known of the target.
type view struct {
	// schema is the last that counted, nil before the first.
	schema *discovery.Schema
	// trouble is why no tasks are to be taken, nil when they may be.
	trouble error
}

// same says whether nothing has changed that matters: not the text of a trouble,
// which may come and go with each try, nor that an outage seems to end.
func (v view) same(before view) bool {
	if v.id() != before.id() || (v.trouble == nil) != (before.trouble == nil) {
		return false
	}
	return v.kind() == before.kind() || errors.Is(v.trouble, target.ErrConnecting) && errors.Is(before.trouble, target.ErrUnreachable)
}

// kinds are the troubles that differ.
var kinds = []error{target.ErrConnecting, target.ErrUnreachable, discovery.ErrNoReflection, errUnlearned}

// kind is the place of the trouble among the kinds, negative if it is none of them.
func (v view) kind() int {
	return slices.IndexFunc(kinds, func(kind error) bool { return errors.Is(v.trouble, kind) })
}

func (v view) id() string {
	if v.schema == nil {
		return ""
	}
	return v.schema.ID()
}

// observed is what a watcher sees of a [target.Target].
type observed interface {
	Name() string
	Changed() <-chan struct{}
	Connections() int64
	Ready() bool
	Trouble(ctx context.Context) error
	Settle(ctx context.Context)
	UntilUnready(ctx context.Context) (context.Context, context.CancelFunc)
}

// watcher follows the target: whether it can be called, and what it offers.
type watcher struct {
	target  observed
	source  discovery.Source
	log     *slog.Logger
	periods periods
	// views has the latest view that differs from the one before.
	views chan view

	schema *discovery.Schema
	// fresh: the schema was seen since the target was last unready.
	fresh bool
	// candidate is the id of another schema that was seen once.
	candidate string
	// unlearned is why the last look failed.
	unlearned error
	// connections is how many there had been at the last look, next when another
	// one is due.
	connections int64
	next        time.Time

	// published is the view that was, if told.
	published view
	told      bool

	mu   sync.Mutex
	last error
}

func newWatcher(t observed, source discovery.Source, log *slog.Logger) *watcher {
	return &watcher{
		target: t, source: source, log: log, periods: defaultPeriods, views: make(chan view, 1),
		last: fmt.Errorf("%w: %s", target.ErrConnecting, t.Name()),
	}
}

// trouble is why no tasks are to be taken, as of the last look.
func (w *watcher) trouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		timer := time.NewTimer(w.look(ctx))
		select {
		case <-w.target.Changed():
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// look takes down how the target is, and says after what time to look again if
// nothing changes.
func (w *watcher) look(ctx context.Context) time.Duration {
	if trouble := w.settled(ctx); trouble != nil {
		w.fresh, w.candidate, w.next = false, "", time.Time{}
		w.publish(trouble)
		return w.periods.retry
	}
	if n := w.target.Connections(); n != w.connections || !time.Now().Before(w.next) {
		w.connections = n
		w.next = time.Now().Add(w.learn(ctx))
	}
	switch {
	case !w.target.Ready():
		return 0
	case w.fresh:
		w.publish(nil)
	default:
		w.publish(fmt.Errorf("%w: %w", errUnlearned, w.unlearned))
	}
	return time.Until(w.next)
}

// settled is the target's trouble. A connection that was just lost gets a moment to
// show why, so that an outage is told once, with its reason. One that comes back
// within it was lost all the same: the server may be another.
func (w *watcher) settled(ctx context.Context) error {
	trouble := w.target.Trouble(ctx)
	if w.published.trouble != nil || !errors.Is(trouble, target.ErrConnecting) {
		return trouble
	}
	settling, cancel := context.WithTimeout(ctx, w.periods.settle)
	defer cancel()
	w.target.Settle(settling)
	if why := w.target.Trouble(ctx); why != nil {
		return why
	}
	return trouble
}

// learn looks at what the target offers, and says when to do so again.
func (w *watcher) learn(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, w.periods.learn)
	defer cancel()
	ctx, stop := w.target.UntilUnready(ctx)
	defer stop()
	schema, err := w.source.Learn(ctx)
	if err != nil {
		w.unlearned = err
		if w.fresh {
			w.log.DebugContext(ctx, "the target's services can't be looked at again", "error", err)
		}
		return w.periods.retry
	}
	switch id := schema.ID(); {
	case w.schema != nil && id == w.schema.ID():
	case w.schema != nil && id != w.candidate:
		w.candidate, w.unlearned = id, errors.New("they have changed, and are looked at again")
		return w.periods.confirm
	default:
		w.log.InfoContext(ctx, "learned the target's services", "target", w.target.Name(), "services", schema.Names(), "schema", schema.Digest())
		w.schema = schema
	}
	w.fresh, w.candidate = true, ""
	return w.periods.relearn
}

// publish tells of a view if it is new.
func (w *watcher) publish(trouble error) {
	w.mu.Lock()
	w.last = trouble
	w.mu.Unlock()
	next := view{w.schema, trouble}
	if w.told && next.same(w.published) {
		return
	}
	w.published, w.told = next, true
	select {
	case <-w.views:
	default:
	}
	w.views <- next
}

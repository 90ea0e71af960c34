package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// openPeriod is the time between two tries to open the store.
	openPeriod = time.Second
	// openLogPeriod is the time between two log lines that say why it is not open.
	openLogPeriod = 10 * time.Second
)

// lazyStore is a store that is opened in the background, as often as it takes.
// Until it is open, it answers that it is unavailable; then it passes all on.
type lazyStore struct {
	open func(context.Context) (store.Store, error)
	log  *slog.Logger
	// tried is closed when the first try has ended, done when there is no more.
	tried, done chan struct{}
	cancel      context.CancelFunc

	mu     sync.Mutex
	opened store.Store
	// failed is why it is not open.
	failed error
}

var _ store.Store = (*lazyStore)(nil)

// newLazyStore begins to open a store. Close must be called.
func newLazyStore(ctx context.Context, log *slog.Logger, open func(context.Context) (store.Store, error)) *lazyStore {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &lazyStore{
		open: open, log: log, tried: make(chan struct{}), done: make(chan struct{}), cancel: cancel,
		failed: fmt.Errorf("%w: it is not open yet", store.ErrUnavailable),
	}
	go l.run(ctx)
	return l
}

func (l *lazyStore) run(ctx context.Context) {
	defer close(l.done)
	ticker := time.NewTicker(openPeriod)
	defer ticker.Stop()
	err := l.try(ctx)
	close(l.tried)
	var logged time.Time
	for ; err != nil; err = l.try(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if time.Since(logged) >= openLogPeriod {
			l.log.Error("waiting for the store", "error", err)
			logged = time.Now()
		}
	}
	if !logged.IsZero() {
		l.log.Info("the store is open")
	}
}

func (l *lazyStore) try(ctx context.Context) error {
	s, err := l.open(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = err
		return err
	}
	l.opened = s
	return nil
}

// get gives the store, or says that it is unavailable.
func (l *lazyStore) get() (store.Store, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.opened != nil:
		return l.opened, nil
	case errors.Is(l.failed, store.ErrUnavailable):
		return nil, l.failed
	}
	return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, l.failed)
}

// fault is what keeps the store from being opened if that can't pass by itself.
func (l *lazyStore) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened != nil || errors.Is(l.failed, store.ErrUnavailable) {
		return nil
	}
	return l.failed
}

// Close implements [store.Store].
func (l *lazyStore) Close() error {
	l.cancel()
	<-l.done
	if s, err := l.get(); err == nil {
		return s.Close()
	}
	return nil
}

// with asks the store if it is open.
func with[T any](l *lazyStore, ask func(store.Store) (T, error)) (T, error) {
	s, err := l.get()
	if err != nil {
		var none T
		return none, err
	}
	return ask(s)
}

// Apply implements [store.Store].
func (l *lazyStore) Apply(ctx context.Context, events []task.Event) ([]store.Change, error) {
	return with(l, func(s store.Store) ([]store.Change, error) { return s.Apply(ctx, events) })
}

// Task implements [store.Store].
func (l *lazyStore) Task(ctx context.Context, id string) (task.Task, error) {
	return with(l, func(s store.Store) (task.Task, error) { return s.Task(ctx, id) })
}

// Body implements [store.Store].
func (l *lazyStore) Body(ctx context.Context, id string, number int64) ([]byte, error) {
	return with(l, func(s store.Store) ([]byte, error) { return s.Body(ctx, id, number) })
}

// Events implements [store.Store].
func (l *lazyStore) Events(ctx context.Context, id string, after int64, limit int, bodies bool) ([]task.NumberedEvent, error) {
	return with(l, func(s store.Store) ([]task.NumberedEvent, error) { return s.Events(ctx, id, after, limit, bodies) })
}

// History implements [store.Store].
func (l *lazyStore) History(ctx context.Context, id string) ([]task.NumberedEvent, error) {
	return with(l, func(s store.Store) ([]task.NumberedEvent, error) { return s.History(ctx, id) })
}

// Start implements [store.Store].
func (l *lazyStore) Start(ctx context.Context, requests []task.StartRequest) ([]task.StartAnswer, error) {
	return with(l, func(s store.Store) ([]task.StartAnswer, error) { return s.Start(ctx, requests) })
}

// ClaimRun implements [store.Store].
func (l *lazyStore) ClaimRun(ctx context.Context, id string, run int, c task.Copy) (held, ended bool, err error) {
	s, err := l.get()
	if err != nil {
		return false, false, err
	}
	return s.ClaimRun(ctx, id, run, c)
}

// PutOverride implements [store.Store].
func (l *lazyStore) PutOverride(ctx context.Context, o store.Override) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.PutOverride(ctx, o)
}

// Overrides implements [store.Store].
func (l *lazyStore) Overrides(ctx context.Context) ([]store.Override, error) {
	return with(l, func(s store.Store) ([]store.Override, error) { return s.Overrides(ctx) })
}

// PurgeEnded implements [store.Store].
func (l *lazyStore) PurgeEnded(ctx context.Context, which store.Ended, limit int) (int, error) {
	return with(l, func(s store.Store) (int, error) { return s.PurgeEnded(ctx, which, limit) })
}

// PurgeTombstones implements [store.Store].
func (l *lazyStore) PurgeTombstones(ctx context.Context, purgedBefore time.Time, limit int) (int, error) {
	return with(l, func(s store.Store) (int, error) { return s.PurgeTombstones(ctx, purgedBefore, limit) })
}

// PutBundle implements [store.Store].
func (l *lazyStore) PutBundle(ctx context.Context, b store.BundleRecord) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.PutBundle(ctx, b)
}

// Bundles implements [store.Store].
func (l *lazyStore) Bundles(ctx context.Context) ([]store.BundleRecord, error) {
	return with(l, func(s store.Store) ([]store.BundleRecord, error) { return s.Bundles(ctx) })
}

// Check implements [store.Store].
func (l *lazyStore) Check(ctx context.Context) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.Check(ctx)
}

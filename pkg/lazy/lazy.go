// Package lazy holds a resource, such as a store, that need not be there yet.
package lazy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// openPatience is how long Open waits for the first try: a mistake in the
	// configuration shows at once, a lock that somebody holds does not.
	openPatience = 500 * time.Millisecond
	// openPeriod is the time between two tries.
	openPeriod = time.Second
	// openLogPeriod is the time between two log lines that say why it is not open.
	openLogPeriod = 10 * time.Second
)

// Resource is opened in the background, as often as it takes.
type Resource[R io.Closer] struct {
	what        string
	unavailable error
	open        func(context.Context) (R, error)
	log         *slog.Logger
	// tried is closed when the first try has ended, done when there is no more.
	tried, done chan struct{}
	cancel      context.CancelFunc

	mu     sync.Mutex
	opened R
	isOpen bool
	// failed is why it is not open.
	failed error
}

// Open opens a resource, in the background if it is unavailable now: then open,
// which must not be in use elsewhere, is called once a second until it succeeds or
// Close is called; the context's end does not matter to that. What names the
// resource in logs and errors; unavailable is the error that open answers with
// while that may pass by itself. Errors: any other that open answers at once.
func Open[R io.Closer](ctx context.Context, log *slog.Logger, what string, unavailable error, open func(context.Context) (R, error)) (*Resource[R], error) {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Resource[R]{
		what: what, unavailable: unavailable, open: open, log: log,
		tried: make(chan struct{}), done: make(chan struct{}), cancel: cancel,
		failed: fmt.Errorf("%w: it is not open yet", unavailable),
	}
	go r.run(background)
	timer := time.NewTimer(openPatience)
	defer timer.Stop()
	select {
	case <-r.tried:
	case <-timer.C:
		return r, nil
	}
	if err := r.fault(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", what, err), r.Close())
	}
	return r, nil
}

func (r *Resource[R]) run(ctx context.Context) {
	defer close(r.done)
	ticker := time.NewTicker(openPeriod)
	defer ticker.Stop()
	err := r.try(ctx)
	close(r.tried)
	var logged time.Time
	for ; err != nil; err = r.try(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if time.Since(logged) >= openLogPeriod {
			r.log.Error("waiting for "+r.what, "error", err)
			logged = time.Now()
		}
	}
	if !logged.IsZero() {
		r.log.Info(r.what + " is open")
	}
}

func (r *Resource[R]) try(ctx context.Context) error {
	opened, err := r.open(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = err
		return err
	}
	r.opened, r.isOpen = opened, true
	return nil
}

// Get gives the resource, or an error that wraps the one for unavailable.
func (r *Resource[R]) Get() (R, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.isOpen:
		return r.opened, nil
	case errors.Is(r.failed, r.unavailable):
		return r.opened, r.failed
	}
	return r.opened, fmt.Errorf("%w: %w", r.unavailable, r.failed)
}

// fault is what keeps the resource from being opened if that can't pass by itself.
func (r *Resource[R]) fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isOpen || errors.Is(r.failed, r.unavailable) {
		return nil
	}
	return r.failed
}

// Close ends the tries and closes what is open. A second call closes it again.
func (r *Resource[R]) Close() error {
	r.cancel()
	<-r.done
	if opened, err := r.Get(); err == nil {
		return opened.Close()
	}
	return nil
}

// Ask asks the resource if it is open.
func Ask[R io.Closer, T any](r *Resource[R], ask func(R) (T, error)) (T, error) {
	opened, err := r.Get()
	if err != nil {
		var none T
		return none, err
	}
	return ask(opened)
}

// Tell has the resource do something if it is open.
func Tell[R io.Closer](r *Resource[R], do func(R) error) error {
	opened, err := r.Get()
	if err != nil {
		return err
	}
	return do(opened)
}

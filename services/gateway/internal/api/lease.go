package api

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// keyLease is for how long a claim on idempotency keys holds without being renewed.
	keyLease = 5 * time.Second
	// keyRenewal is the time between two renewals.
	keyRenewal = 2 * time.Second
	// leaseMargin is kept of a lease, for what is between the look at it and the
	// broker, and for the clocks of processes that share a store.
	leaseMargin = 500 * time.Millisecond
)

var errLeaseEnded = errors.New("the lease on its idempotency key could have ended")

// lease holds idempotency keys while somebody submits with them. Others may take them
// once it has ended: nothing is published then.
type lease struct {
	store store.Store
	refs  []store.KeyRef

	mu    sync.Mutex
	until time.Time

	quit    context.CancelFunc
	renewed sync.WaitGroup
}

// holdKeys renews a lease until it is released. The context that it returns ends with
// the lease; that it goes on is not enough for publishing, see holds.
func (s *TaskService) holdKeys(ctx context.Context, refs []store.KeyRef, until time.Time) (context.Context, *lease) {
	held, end := context.WithCancelCause(ctx)
	renewing, quit := context.WithCancel(context.WithoutCancel(ctx))
	l := &lease{store: s.cfg.Store, refs: refs, until: until.Add(-leaseMargin), quit: quit}
	l.renewed.Go(func() {
		l.renew(renewing)
		end(errLeaseEnded)
	})
	return held, l
}

// release ends the renewals; the keys are settled before, or left to the end of their
// lease.
func (l *lease) release() {
	l.quit()
	l.renewed.Wait()
}

// holds says whether nobody else can have the keys. A process that was suspended finds
// out by this, before anything that waits for time to pass does; some clocks stand
// still then, so both are asked.
func (l *lease) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return now.Before(l.until) && now.Round(0).Before(l.until.Round(0))
}

// check says that the lease could have ended.
func (l *lease) check() error {
	if l.holds() {
		return nil
	}
	return errLeaseEnded
}

func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until)
}

// renew returns when the lease has ended, or was released.
func (l *lease) renew(ctx context.Context) {
	for l.holds() {
		timer := time.NewTimer(min(keyRenewal, l.left()))
		select {
		case <-timer.C:
			if l.holds() && !l.renewOnce(ctx) {
				return
			}
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// renewOnce says whether the keys may still be held: so they may if the store does not
// answer.
func (l *lease) renewOnce(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, l.left())
	defer cancel()
	until := time.Now().Add(keyLease)
	held, err := l.store.RenewKeys(ctx, l.refs, until)
	if err != nil {
		return true
	}
	if slices.Contains(held, false) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until.Add(-leaseMargin)
	return true
}

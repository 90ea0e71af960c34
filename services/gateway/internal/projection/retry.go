package projection

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Bounds of the wait between two tries, of the time between two log lines about
// the same trouble, and of one try to set something aside.
const (
	minBackoff  = 20 * time.Millisecond
	maxBackoff  = time.Second
	logPeriod   = 10 * time.Second
	parkTimeout = 5 * time.Second
)

// maxFaults is how often an event on its own is tried when the store fails in
// an unknown way.
const maxFaults = 5

// retry calls try until it succeeds or ctx ends, logging now and then why what it
// needs does not work.
func (p *Projection) retry(ctx context.Context, what string, try func() error) error {
	var logged time.Time
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := try()
		switch {
		case err == nil:
			if !logged.IsZero() {
				p.log.Info(what + " works again")
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("work on status events: %w", context.Cause(ctx))
		case time.Since(logged) >= logPeriod:
			p.log.Error(what+" does not work, trying again until it does", "error", err)
			logged = time.Now()
		}
		if err := sleep(ctx, backoff/2+rand.N(backoff/2)); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to try again: %w", context.Cause(ctx))
	}
}

// Package retry tries again for as long as it takes what only an outage keeps from
// working.
package retry

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Bounds of the wait between two tries, half of it by chance, and of the time
// between two log lines about the same trouble.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = time.Second
	logPeriod  = 10 * time.Second
)

// Until calls try until it succeeds or ctx ends, which is its only error, and logs
// now and then why what it needs does not work.
func Until(ctx context.Context, log *slog.Logger, what string, try func() error) error {
	var logged time.Time
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := try()
		switch {
		case err == nil:
			if !logged.IsZero() {
				log.InfoContext(ctx, what+" works again")
			}
			return nil
		case ctx.Err() == nil && time.Since(logged) >= logPeriod:
			log.ErrorContext(ctx, what+" does not work, trying again until it does", "error", err)
			logged = time.Now()
		}
		if !Pause(ctx, backoff/2+rand.N(backoff/2)) {
			return fmt.Errorf("wait until %s works: %w", what, context.Cause(ctx))
		}
	}
}

// Pause waits for d; false says that ctx has ended.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

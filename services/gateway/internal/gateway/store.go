package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

// openPatience is how long a start waits for the first try to open the store: a
// mistake in the configuration shows at once, a lock that somebody holds does not.
const openPatience = 500 * time.Millisecond

// openStore opens the store, in the background if it is unavailable now. A URL
// or a place that is no good is an error.
func openStore(ctx context.Context, url string, log *slog.Logger) (store.Store, error) {
	s := newLazyStore(ctx, log, func(ctx context.Context) (store.Store, error) {
		s, err := sqlite.Open(ctx, url, sqlite.Options{})
		if err != nil {
			return nil, err
		}
		return s, nil
	})
	timer := time.NewTimer(openPatience)
	defer timer.Stop()
	select {
	case <-s.tried:
	case <-timer.C:
		return s, nil
	}
	if err := s.fault(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), s.Close())
	}
	return s, nil
}

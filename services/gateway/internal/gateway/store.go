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

// openPeriod is the time between two tries to open the store.
const openPeriod = time.Second

// MaxPayloadLimit is the largest limit that leaves room in RabbitMQ's message
// size for what travels with a payload or result.
const MaxPayloadLimit = 12 << 20

// CheckMaxPayload says whether a limit on payloads makes sense.
func CheckMaxPayload(n int) error {
	if n < 1 || n > MaxPayloadLimit {
		return fmt.Errorf("--max-payload-bytes %d: must be from 1 to %d (12 MiB)", n, MaxPayloadLimit)
	}
	return nil
}

// OpenStore opens the store, waiting while it is unavailable.
func OpenStore(ctx context.Context, url string, log *slog.Logger) (store.Store, error) {
	ticker := time.NewTicker(openPeriod)
	defer ticker.Stop()
	for {
		s, err := sqlite.Open(ctx, url, sqlite.Options{})
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			return nil, fmt.Errorf("open the store: %w", err)
		}
		log.Error("waiting for the store", "error", err)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("open the store: %w", context.Cause(ctx))
		}
	}
}

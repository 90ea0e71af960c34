package gateway

import (
	"context"
	"log/slog"

	"github.com/warrenmq/warren/pkg/lazy"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

// openStore opens the store, in the background if it is unavailable now. A URL
// or a place that is no good is an error.
func openStore(ctx context.Context, url string, log *slog.Logger) (store.Store, error) {
	r, err := lazy.Open(ctx, log, "the store", store.ErrUnavailable, func(ctx context.Context) (store.Store, error) {
		return sqlite.Open(ctx, url, sqlite.Options{})
	})
	if err != nil {
		return nil, err
	}
	return lazyStore{r}, nil
}

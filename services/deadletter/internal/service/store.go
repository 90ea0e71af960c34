package service

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/warrenmq/warren/pkg/lazy"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

// openStore opens the store, in the background if it is unavailable now. A URL
// or a place that is no good is an error.
func openStore(ctx context.Context, url string, metrics *sqldb.Metrics, log *slog.Logger) (store.Store, error) {
	r, err := lazy.Open(ctx, log, "the store", store.ErrUnavailable, func(ctx context.Context) (store.Store, error) {
		return sqlite.Open(ctx, url, sqlite.Options{})
	})
	if err != nil {
		return nil, err
	}
	return lazyStore{r, metrics}, nil
}

// answers are errors of the store that say how something is, and not that it fails.
var answers = []error{
	store.ErrNotFound, store.ErrNotOpen, store.ErrEtag, store.ErrNotReplayable, store.ErrRun, store.ErrNotPending,
	store.ErrNoRule, store.ErrRuleExists, store.ErrTooManyRules,
	store.ErrNoSelection, store.ErrNoReplay, store.ErrReplayEnded, store.ErrRequestID, store.ErrMoved, store.ErrNotOverdue,
	store.ErrNoGroup, store.ErrTooMany,
	store.ErrHeld, store.ErrManyPolicies, store.ErrRevisions,
}

// storeProblem names what keeps the store from answering.
func storeProblem(err error) string {
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, store.ErrBadArrival):
		return "bad_arrival"
	case slices.ContainsFunc(answers, func(answer error) bool { return errors.Is(err, answer) }):
		return ""
	}
	return "other"
}

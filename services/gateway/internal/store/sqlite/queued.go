package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	// The condition on the state is that of the index tasks_retrying, word by word,
	// as SQLite needs it.
	countRetrying = `SELECT count(*) FROM (SELECT 1 FROM tasks WHERE state = 4 AND type = ? LIMIT 1000000)`

	// 2 is task.StateQueued. No index has these: it would cost every task two
	// writes.
	selectOldestQueued = `SELECT update_time FROM tasks WHERE type = ? AND state = 2 ORDER BY id LIMIT 1`

	// queuedBudget bounds the search for the oldest.
	queuedBudget = time.Second
)

// Queued implements [store.Store].
func (s *Store) Queued(ctx context.Context, taskType string) (retrying int64, oldest time.Time, known bool, err error) {
	if err := s.enter(); err != nil {
		return 0, time.Time{}, false, err
	}
	defer s.leave()
	what := fmt.Sprintf("queue of %s", taskType)
	if err := s.db.Reader.QueryRowContext(ctx, countRetrying, taskType).Scan(&retrying); err != nil {
		return 0, time.Time{}, false, translate(ctx, what, err)
	}
	bounded, cancel := context.WithTimeout(ctx, s.queuedBudget)
	defer cancel()
	var since sql.Null[int64]
	err = s.db.Reader.QueryRowContext(bounded, selectOldestQueued, taskType).Scan(&since)
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		return retrying, fromMicros(since), true, nil
	case bounded.Err() != nil && ctx.Err() == nil:
		return retrying, time.Time{}, false, nil
	}
	return 0, time.Time{}, false, translate(ctx, what, err)
}

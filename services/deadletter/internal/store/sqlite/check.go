package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	writeCheck = `INSERT INTO checks (id, time) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET time = excluded.time`
	readCheck  = `SELECT time FROM checks WHERE id = 1`

	// checkTimeout bounds a check also when a long transaction, or one that
	// waits for a lock, is in the way.
	checkTimeout = 2500 * time.Millisecond
)

// Check implements [store.Store].
func (s *Store) Check(ctx context.Context) error {
	const what = "check the store"
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := s.write(bounded, what, func(ctx context.Context, w *writing) error { return w.exec(ctx, writeCheck, w.now) })
	if err == nil {
		err = s.read(bounded, what, func(tx *sql.Tx) error {
			var at int64
			return tx.QueryRowContext(bounded, readCheck).Scan(&at)
		})
	}
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w: no answer within %v", what, store.ErrUnavailable, checkTimeout)
	}
	return err
}

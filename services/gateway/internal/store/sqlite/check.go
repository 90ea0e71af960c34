package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
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
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	const what = "check the store"
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := s.check(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w: no answer within %v", what, store.ErrUnavailable, checkTimeout)
	}
	return translate(ctx, what, err)
}

func (s *Store) check(ctx context.Context) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, writeCheck, s.clock().UnixMicro())
		return err
	})
	if err != nil {
		return err
	}
	var at int64
	return s.stmts.readCheck.QueryRowContext(ctx).Scan(&at)
}

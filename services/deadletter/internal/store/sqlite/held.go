package sqlite

import (
	"context"
	"database/sql"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertHeld = `INSERT INTO held (key, data) VALUES (?, ?) ON CONFLICT (key) DO NOTHING`
	selectHeld = `SELECT sequence, key, data FROM held WHERE sequence > ? ORDER BY sequence LIMIT ?`
	deleteHeld = `DELETE FROM held WHERE key = ?`
)

// Hold implements [store.Store].
func (s *Store) Hold(ctx context.Context, held []store.Held) error {
	return s.write(ctx, "hold what waits to be judged", func(ctx context.Context, w *writing) error {
		for _, h := range held {
			if err := w.exec(ctx, insertHeld, h.Key, h.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// Held implements [store.Store].
func (s *Store) Held(ctx context.Context, after int64, limit int) ([]store.Held, error) {
	var all []store.Held
	err := s.read(ctx, "what waits to be judged", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, selectHeld, after, min(max(limit, 0), store.MaxPage))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for size := 0; rows.Next(); {
			var h store.Held
			if err := rows.Scan(&h.Sequence, &h.Key, &h.Data); err != nil {
				return err
			}
			if size += len(h.Data); size > store.MaxPageBytes && len(all) > 0 {
				return rows.Close()
			}
			all = append(all, h)
		}
		return rows.Err()
	})
	return all, err
}

// Unhold implements [store.Store].
func (s *Store) Unhold(ctx context.Context, keys []string) error {
	return s.write(ctx, "forget what was judged", func(ctx context.Context, w *writing) error {
		for _, key := range keys {
			if err := w.exec(ctx, deleteHeld, key); err != nil {
				return err
			}
		}
		return nil
	})
}

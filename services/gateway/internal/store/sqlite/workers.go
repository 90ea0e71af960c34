package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	upsertWorker = `INSERT INTO workers (id, heartbeat, seen, gone) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat, seen = excluded.seen, gone = excluded.gone`

	selectWorkers = `SELECT id, heartbeat, seen, gone FROM workers ORDER BY id`

	deleteWorkerControls = `DELETE FROM controls WHERE worker_id <> '' AND worker_id IN (SELECT id FROM workers WHERE seen < ?)`

	deleteWorkers = `DELETE FROM workers WHERE seen < ?`
)

// PutWorkers implements [store.Store].
func (s *Store) PutWorkers(ctx context.Context, workers []store.WorkerRecord) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if len(workers) == 0 {
		return nil
	}
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, upsertWorker)
		if err != nil {
			return err
		}
		defer func() { _ = put.Close() }()
		for _, w := range workers {
			if _, err := put.ExecContext(ctx, w.ID, orEmpty(w.Heartbeat), micros(w.Seen), micros(w.Gone)); err != nil {
				return fmt.Errorf("worker %s: %w", w.ID, err)
			}
		}
		return nil
	})
	return translate(ctx, "put workers", err)
}

// Workers implements [store.Store].
func (s *Store) Workers(ctx context.Context) ([]store.WorkerRecord, error) {
	return readAll(ctx, s, "read workers", scanWorker, selectWorkers)
}

func scanWorker(rows *sql.Rows) (store.WorkerRecord, error) {
	var w store.WorkerRecord
	var heartbeat []byte
	var seen, gone sql.Null[int64]
	if err := rows.Scan(&w.ID, &heartbeat, &seen, &gone); err != nil {
		return store.WorkerRecord{}, err
	}
	if len(heartbeat) > 0 {
		w.Heartbeat = heartbeat
	}
	w.Seen, w.Gone = fromMicros(seen), fromMicros(gone)
	return w, nil
}

// ForgetWorkers implements [store.Store].
func (s *Store) ForgetWorkers(ctx context.Context, seenBefore time.Time) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{deleteWorkerControls, deleteWorkers} {
			if _, err := tx.ExecContext(ctx, query, seenBefore.UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
	return translate(ctx, "forget workers", err)
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// The condition is that of the index tasks_retrying, word by word, as SQLite needs
	// it.
	countRetryingByType = `SELECT type, count(*) FROM tasks WHERE state = 4 GROUP BY type`

	// stretch is how many tasks one look is at: some milliseconds.
	stretch = 5000

	selectStretchEnd = `SELECT id FROM tasks WHERE id >= ? ORDER BY id LIMIT 1 OFFSET ?`

	// 2 is task.StateQueued.
	selectNextQueued = `SELECT id, update_time FROM tasks
WHERE id >= ? AND (? IS NULL OR id < ?) AND type = ? AND state = 2 ORDER BY id LIMIT 1`
)

// CountRetrying implements [store.Queues].
func (s *Store) CountRetrying(ctx context.Context) (map[string]int64, error) {
	type count struct {
		taskType string
		tasks    int64
	}
	counts, err := readAll(ctx, s, "count retries", func(rows *sql.Rows) (count, error) {
		var c count
		err := rows.Scan(&c.taskType, &c.tasks)
		return c, err
	}, countRetryingByType)
	if err != nil {
		return nil, err
	}
	byType := make(map[string]int64, len(counts))
	for _, c := range counts {
		byType[c.taskType] = c.tasks
	}
	return byType, nil
}

// NextQueued implements [store.Queues].
func (s *Store) NextQueued(ctx context.Context, taskType, from string) (store.NextQueued, error) {
	if err := s.enter(); err != nil {
		return store.NextQueued{}, err
	}
	defer s.leave()
	found, err := s.nextQueued(ctx, taskType, from)
	return found, translate(ctx, fmt.Sprintf("look for the next task in the queue of %s", taskType), err)
}

func (s *Store) nextQueued(ctx context.Context, taskType, from string) (found store.NextQueued, err error) {
	start := []byte{}
	if id, ok := parseID(from); ok {
		start = id[:]
	}
	var end, at []byte
	err = s.db.Reader.QueryRowContext(ctx, selectStretchEnd, start, stretch).Scan(&end)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return found, err
	}
	var since sql.Null[int64]
	err = s.db.Reader.QueryRowContext(ctx, selectNextQueued, start, end, end, taskType).Scan(&at, &since)
	if err == nil {
		found.ID, err = textOfID(at)
		found.Since = fromMicros(since)
		return found, err
	}
	if errors.Is(err, sql.ErrNoRows) && end != nil {
		found.Next, err = textOfID(end)
		return found, err
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return found, err
}

func textOfID(stored []byte) (string, error) {
	id, err := uuid.FromBytes(stored)
	return id.String(), err
}

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

	// With min alone, SQLite takes the other columns from the row that has it.
	selectFirstsQueued = `SELECT type, min(id), update_time FROM tasks
WHERE id >= ? AND (? IS NULL OR id < ?) AND state = 2 GROUP BY type`
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
	if taskType == "" {
		found, err := s.firstsQueued(ctx, from)
		return found, translate(ctx, "look for the next tasks in all queues", err)
	}
	found, err := s.nextQueued(ctx, taskType, from)
	return found, translate(ctx, fmt.Sprintf("look for the next task in the queue of %s", taskType), err)
}

func (s *Store) nextQueued(ctx context.Context, taskType, from string) (found store.NextQueued, err error) {
	start, end, err := s.stretch(ctx, from)
	if err != nil {
		return found, err
	}
	var at []byte
	var since sql.Null[int64]
	err = s.db.Reader.QueryRowContext(ctx, selectNextQueued, start, end, end, taskType).Scan(&at, &since)
	switch {
	case err == nil:
		found.ID, err = textOfID(at)
		found.Since = fromMicros(since)
	case errors.Is(err, sql.ErrNoRows):
		found.Next, err = textOfEnd(end)
	}
	return found, err
}

func (s *Store) firstsQueued(ctx context.Context, from string) (found store.NextQueued, err error) {
	start, end, err := s.stretch(ctx, from)
	if err != nil {
		return found, err
	}
	rows, err := s.db.Reader.QueryContext(ctx, selectFirstsQueued, start, end, end)
	if err != nil {
		return found, err
	}
	defer func() { _ = rows.Close() }()
	firsts := map[string]store.QueuedTask{}
	for rows.Next() {
		var taskType string
		var at []byte
		var since sql.Null[int64]
		if err := rows.Scan(&taskType, &at, &since); err != nil {
			return found, err
		}
		id, err := textOfID(at)
		if err != nil {
			return found, err
		}
		firsts[taskType] = store.QueuedTask{ID: id, Since: fromMicros(since)}
	}
	if err := rows.Err(); err != nil {
		return found, err
	}
	found.Firsts = firsts
	found.Next, err = textOfEnd(end)
	return found, err
}

// stretch is where a look at the tasks from an id on starts, and before which it ends:
// nil for the end of all.
func (s *Store) stretch(ctx context.Context, from string) (start, end []byte, err error) {
	start = []byte{}
	if id, ok := parseID(from); ok {
		start = id[:]
	}
	err = s.db.Reader.QueryRowContext(ctx, selectStretchEnd, start, stretch).Scan(&end)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return start, end, err
}

// textOfEnd is the id that a stretch ends before, empty for the end of all.
func textOfEnd(end []byte) (string, error) {
	if end == nil {
		return "", nil
	}
	return textOfID(end)
}

func textOfID(stored []byte) (string, error) {
	id, err := uuid.FromBytes(stored)
	return id.String(), err
}

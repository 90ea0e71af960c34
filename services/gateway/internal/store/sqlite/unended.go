package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// The conditions are those of the index tasks_unended, word by word, as SQLite needs
// it. It has the ids in their order. From 5, task.StateSucceeded, a task has ended.
const selectUnended = `SELECT id FROM tasks
WHERE schedule_id IS NOT NULL AND state < 5 AND schedule_id = ? ORDER BY id DESC LIMIT 1`

// Unended implements [store.Scheduler].
func (s *Store) Unended(ctx context.Context, scheduleID string) (string, error) {
	if err := s.enter(); err != nil {
		return "", err
	}
	defer s.leave()
	var id uuid.UUID
	err := s.db.Reader.QueryRowContext(ctx, selectUnended, scheduleID).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return "", translate(ctx, fmt.Sprintf("look for a task of schedule %q that has not ended", scheduleID), err)
	}
	return id.String(), nil
}

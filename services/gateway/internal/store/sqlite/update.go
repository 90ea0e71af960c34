package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var (
	errNotUpdated   = errors.New("it is no UPDATED event, or has a message and no time")
	errKnownUpdated = errors.New("an event of its key is there, or its run is over")
)

// Update implements [store.Scheduler].
func (s *Store) Update(ctx context.Context, version int64, e task.Event, message []byte) (store.Change, error) {
	if err := s.enter(); err != nil {
		return store.Change{}, err
	}
	defer s.leave()
	what := "update task " + e.TaskID
	err := e.Validate()
	if err == nil && (e.Key.Phase != task.PhaseUpdated || len(message) > 0 && e.ScheduleTime.IsZero()) {
		err = errNotUpdated
	}
	if err != nil {
		return store.Change{}, fmt.Errorf("%s: %w: %w", what, store.ErrBadEvent, err)
	}
	var change store.Change
	err = s.db.Write(ctx, func(tx *sql.Tx) error {
		var err error
		change, err = s.update(ctx, tx, version, e, message)
		return err
	})
	return change, translateEvents(ctx, what, err)
}

func (s *Store) update(ctx context.Context, tx *sql.Tx, version int64, e task.Event, message []byte) (store.Change, error) {
	id, err := uuid.Parse(e.TaskID)
	if err != nil {
		return store.Change{}, err
	}
	b := s.newBatch(ctx, tx)
	b.add(id)
	if err := b.load(ctx); err != nil {
		return store.Change{}, err
	}
	t := b.tasks[id]
	switch {
	case t.task.ID == "":
		return store.Change{}, store.ErrNotFound
	case t.task.Version != version:
		return store.Change{}, fmt.Errorf("%w: it has version %d", store.ErrChanged, t.task.Version)
	}
	if len(message) > 0 {
		ok, err := changesOne(tx.ExecContext(ctx, updateScheduled, e.ScheduleTime.UnixMicro(), message, id[:]))
		if err != nil {
			return store.Change{}, err
		}
		if !ok {
			return store.Change{}, fmt.Errorf("%w: its message is gone, or on its way", store.ErrChanged)
		}
	}
	if err := b.apply(ctx, e); err != nil {
		return store.Change{}, err
	}
	if !t.changed {
		return store.Change{}, fmt.Errorf("%w: %w", store.ErrBadEvent, errKnownUpdated)
	}
	changes, err := b.save(ctx)
	if err != nil {
		return store.Change{}, err
	}
	return changes[0], nil
}

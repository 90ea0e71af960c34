package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertIntent = `INSERT INTO intents (id, dead_letter, run, state, time, reason, publishes, outcome, unroutable, call)
VALUES (?, ?, ?, 1, ?, ?, 0, 0, 0, nullif(?, ''))`

	updateIntentsEnded = `UPDATE intents SET state = 3, outcome = ? WHERE dead_letter = ? AND run <= ? AND state <> 3`

	intentColumns = `i.sequence, i.id, d.id, i.run, i.state, i.time, i.reason, i.publishes, i.outcome, i.unroutable, ifnull(i.call, '')`

	selectIntents = `SELECT ` + intentColumns + ` FROM intents i JOIN dead_letters d ON d.sequence = i.dead_letter
WHERE i.state = ? AND i.sequence > ? ORDER BY i.sequence LIMIT ?`

	selectIntent = `SELECT ` + intentColumns + ` FROM intents i JOIN dead_letters d ON d.sequence = i.dead_letter
WHERE i.id = ?`

	updatePublishing = `UPDATE intents SET publishes = publishes + 1 WHERE sequence = ?`
	updatePublished  = `UPDATE intents SET state = 2 WHERE sequence = ?`
	updateUnroutable = `UPDATE intents SET unroutable = 1 WHERE sequence = ?`
)

// intend stores the intent of a replay.
func (w *writing) intend(ctx context.Context, h head, r store.ReplayRequest) (store.Intent, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return store.Intent{}, err
	}
	result, err := w.execute(ctx, insertIntent, id[:], h.sequence, int64(r.Run), w.now, r.By.Reason, r.By.Trace)
	if err != nil {
		return store.Intent{}, err
	}
	sequence, err := result.LastInsertId()
	return store.Intent{
		ID: id.String(), Sequence: sequence, DeadLetterID: h.id.String(), Run: r.Run, State: store.IntentPending,
		Time: time.UnixMicro(w.now).UTC(), Reason: r.By.Reason, Call: r.By.Trace,
	}, err
}

// nextRun says whether a run may follow the last one that died.
func nextRun(run, died int) bool { return run > died && run <= math.MaxInt32 }

// endIntents ends those of a dead letter up to a run that have not ended.
func (w *writing) endIntents(ctx context.Context, sequence int64, run int, outcome store.Outcome) (int, error) {
	result, err := w.execute(ctx, updateIntentsEnded, int64(outcome), sequence, int64(run))
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// Intents implements [store.Store].
func (s *Store) Intents(ctx context.Context, state store.IntentState, after int64, limit int) ([]store.Intent, error) {
	var intents []store.Intent
	err := s.read(ctx, "read intents", func(tx *sql.Tx) (err error) {
		intents, err = collect(ctx, tx, scanIntent, selectIntents, int64(state), after, bounded(limit))
		return err
	})
	return intents, err
}

func scanIntent(row scanner) (store.Intent, error) {
	var i store.Intent
	var id, deadLetter []byte
	var at int64
	err := row.Scan(&i.Sequence, &id, &deadLetter, &i.Run, &i.State, &at, &i.Reason, &i.Publishes, &i.Outcome, &i.Unroutable, &i.Call)
	if err != nil {
		return i, err
	}
	i.Time = time.UnixMicro(at).UTC()
	var errs [2]error
	i.ID, errs[0] = idOf(id)
	i.DeadLetterID, errs[1] = idOf(deadLetter)
	return i, errors.Join(errs[:]...)
}

// intent reads an intent to change it. Errors: ErrNotFound.
func (w *writing) intent(ctx context.Context, id string) (store.Intent, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return store.Intent{}, fmt.Errorf("%w: %q is no id", store.ErrNotFound, id)
	}
	i, err := scanIntent(w.tx.QueryRowContext(ctx, selectIntent, u[:]))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return i, err
}

// MarkPublishing implements [store.Store].
func (s *Store) MarkPublishing(ctx context.Context, intentID string) (store.Intent, error) {
	var i store.Intent
	err := s.write(ctx, "mark replay "+intentID+" as being published", func(ctx context.Context, w *writing) (err error) {
		if i, err = w.intent(ctx, intentID); err != nil {
			return err
		}
		if i.State != store.IntentPending {
			return store.ErrNotPending
		}
		i.Publishes++
		return w.exec(ctx, updatePublishing, i.Sequence)
	})
	return i, err
}

// MarkPublished implements [store.Store].
func (s *Store) MarkPublished(ctx context.Context, intentID string) error {
	return s.write(ctx, "mark replay "+intentID+" as published", func(ctx context.Context, w *writing) error {
		i, err := w.intent(ctx, intentID)
		if err != nil || i.State != store.IntentPending {
			return err
		}
		return w.exec(ctx, updatePublished, i.Sequence)
	})
}

// MarkUnroutable implements [store.Store].
func (s *Store) MarkUnroutable(ctx context.Context, intentID string) error {
	return s.write(ctx, "mark replay "+intentID+" as unroutable", func(ctx context.Context, w *writing) error {
		i, err := w.intent(ctx, intentID)
		if err != nil || i.State != store.IntentPending {
			return err
		}
		return w.exec(ctx, updateUnroutable, i.Sequence)
	})
}

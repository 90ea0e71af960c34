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
	insertIntent = `INSERT INTO intents (id, dead_letter, run, state, time, reason, publishes, outcome, unroutable, call, revision)
VALUES (?, ?, ?, 1, ?, ?, 0, 0, 0, nullif(?, ''), (SELECT payload_revision FROM dead_letters WHERE sequence = ?)) RETURNING sequence, revision`

	selectNextRun = `SELECT max(?, ifnull(max(run) + 1, 0)) FROM intents WHERE dead_letter = ?`

	updateIntentsEnded = `UPDATE intents SET state = 3, outcome = ? WHERE dead_letter = ? AND run <= ? AND state <> 3
RETURNING replay, replay_position`

	intentColumns = `i.sequence, i.id, d.id, i.run, i.state, i.time, i.reason, i.publishes, i.outcome, i.unroutable, ifnull(i.call, ''),
	r.id, i.max_attempts, i.expire_time, i.revision`

	fromIntents = ` FROM intents i JOIN dead_letters d ON d.sequence = i.dead_letter LEFT JOIN replays r ON r.sequence = i.replay`

	// 4 is store.ReplayPaused, 1 store.IntentPending.
	selectIntents = `SELECT ` + intentColumns + fromIntents + `
WHERE i.state = ? AND i.sequence > ? AND NOT (i.state = 1 AND ifnull(r.state, 0) = 4) ORDER BY i.sequence LIMIT ?`

	selectIntent = `SELECT ` + intentColumns + `, ifnull(r.state, 0)` + fromIntents + ` WHERE i.id = ?`

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
	i := store.Intent{
		ID: id.String(), DeadLetterID: h.id.String(), Run: r.Run, State: store.IntentPending,
		Time: time.UnixMicro(w.now).UTC(), Reason: r.By.Reason, Call: r.By.Trace,
	}
	err = w.tx.QueryRowContext(ctx, insertIntent, id[:], h.sequence, int64(r.Run), w.now, r.By.Reason, r.By.Trace, h.sequence).
		Scan(&i.Sequence, &i.Revision)
	return i, err
}

// nextRun says whether a run may follow the last one that died.
func nextRun(run, died int) bool { return run > died && run <= math.MaxInt32 }

// endedIntent is the item of an intent that was ended, if it has one.
type endedIntent struct{ replay, position sql.Null[int64] }

// endIntents ends those of a dead letter up to a run that have not ended, and their
// items.
func (w *writing) endIntents(ctx context.Context, sequence int64, run int, outcome store.Outcome) (int, error) {
	if err := w.prepare(ctx, updateIntentsEnded); err != nil {
		return 0, err
	}
	rows, err := w.prepared[updateIntentsEnded].QueryContext(ctx, int64(outcome), sequence, int64(run))
	if err != nil {
		return 0, err
	}
	ended, err := gather(rows, func(row scanner) (e endedIntent, err error) { return e, row.Scan(&e.replay, &e.position) })
	if err != nil {
		return 0, err
	}
	for _, e := range ended {
		if !e.replay.Valid {
			continue
		}
		if err := w.itemEnded(ctx, e.replay.V, e.position.V, itemStateOf(outcome)); err != nil {
			return 0, err
		}
	}
	return len(ended), nil
}

// itemStateOf is that of an item whose run has ended so.
func itemStateOf(o store.Outcome) store.ItemState {
	switch o {
	case store.OutcomeSucceeded:
		return store.ItemSucceeded
	case store.OutcomeCancelled:
		return store.ItemCancelled
	case store.OutcomeDeadLettered:
		return store.ItemFailedAgain
	}
	return store.ItemUnknown
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
	var id, deadLetter, replay []byte
	var at int64
	var expire sql.Null[int64]
	err := row.Scan(&i.Sequence, &id, &deadLetter, &i.Run, &i.State, &at, &i.Reason, &i.Publishes, &i.Outcome, &i.Unroutable, &i.Call,
		&replay, &i.MaxAttempts, &expire, &i.Revision)
	if err != nil {
		return i, err
	}
	i.Time, i.ExpireTime = time.UnixMicro(at).UTC(), fromMicros(expire)
	var errs [3]error
	if replay != nil {
		i.ReplayID, errs[2] = idOf(replay)
	}
	i.ID, errs[0] = idOf(id)
	i.DeadLetterID, errs[1] = idOf(deadLetter)
	return i, errors.Join(errs[:]...)
}

// intent reads an intent to change it. Errors: ErrNotFound.
func (w *writing) intent(ctx context.Context, id string) (store.Intent, error) {
	i, _, err := w.intentOf(ctx, id)
	return i, err
}

// intentOf is intent, with the state of its replay, 0 if it has none.
func (w *writing) intentOf(ctx context.Context, id string) (store.Intent, store.ReplayState, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return store.Intent{}, 0, fmt.Errorf("%w: %q is no id", store.ErrNotFound, id)
	}
	var of store.ReplayState
	i, err := scanIntent(wider{w.tx.QueryRowContext(ctx, selectIntent, u[:]), []any{&of}})
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return i, of, err
}

// MarkPublishing implements [store.Store].
func (s *Store) MarkPublishing(ctx context.Context, intentID string) (store.Intent, error) {
	var i store.Intent
	err := s.write(ctx, "mark replay "+intentID+" as being published", func(ctx context.Context, w *writing) (err error) {
		var of store.ReplayState
		if i, of, err = w.intentOf(ctx, intentID); err != nil {
			return err
		}
		if i.State != store.IntentPending || of == store.ReplayPaused {
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

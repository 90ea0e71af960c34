package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectUnderWay = `SELECT sequence, time, replay, replay_position FROM intents WHERE dead_letter = ? AND run = ? AND state <> 3`
	updateGivenUp  = `UPDATE intents SET state = 3, outcome = 0 WHERE sequence = ?`

	updateIntentSent    = `UPDATE intents SET state = 2 WHERE id = ? AND state = 1`
	updateIntentNotSent = `UPDATE intents SET publishes = publishes - 1 WHERE id = ? AND state = 1 AND publishes > 0 RETURNING replay`
)

// Reopen implements [store.Replays].
func (s *Store) Reopen(ctx context.Context, r store.ReopenRequest) (store.DeadLetter, error) {
	var d store.DeadLetter
	err := s.write(ctx, "reopen "+r.ID, func(ctx context.Context, w *writing) error {
		h, err := w.head(ctx, r.ID)
		switch {
		case err != nil:
			return err
		case h.state != store.StateInReplay:
			return &store.NotOpenError{ID: h.id.String(), State: h.state}
		case r.Etag != "" && r.Etag != etagOf(h.version):
			return fmt.Errorf("%w: its etag is %s", store.ErrEtag, etagOf(h.version))
		}
		if err := w.giveUp(ctx, h, r.Force); err != nil {
			return err
		}
		err = w.transit(ctx, h, transition{action: store.ActionReopen, to: store.StateOpen, run: h.reopenRun, reopenRun: h.reopenRun, by: r.By})
		if err != nil {
			return err
		}
		d, err = loadOne(ctx, w.tx, h.id)
		return err
	})
	return d, err
}

// giveUp ends the intent of a dead letter's replay.
func (w *writing) giveUp(ctx context.Context, h head, force bool) error {
	var sequence, begun int64
	var replay, position sql.Null[int64]
	err := w.tx.QueryRowContext(ctx, selectUnderWay, h.sequence, int64(h.reopenRun)).Scan(&sequence, &begun, &replay, &position)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if overdue := time.UnixMicro(begun).Add(store.OverdueAfter); !force && time.UnixMicro(w.now).Before(overdue) {
		return &store.NotOverdueError{Time: overdue.UTC()}
	}
	if err := w.exec(ctx, updateGivenUp, sequence); err != nil || !replay.Valid {
		return err
	}
	return w.itemEnded(ctx, replay.V, position.V, store.ItemUnknown)
}

// MarkSent implements [store.Replays].
func (s *Store) MarkSent(ctx context.Context, sent []store.Sent) error {
	if len(sent) == 0 {
		return nil
	}
	return s.write(ctx, "note what was published", func(ctx context.Context, w *writing) error {
		for _, x := range sent {
			id, err := uuid.Parse(x.IntentID)
			if err != nil {
				continue
			}
			if x.Published {
				err = w.exec(ctx, updateIntentSent, id[:])
			} else {
				err = w.notSent(ctx, id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// notSent takes a publish back that did not happen. A replay that is over takes the
// intent back.
func (w *writing) notSent(ctx context.Context, id uuid.UUID) error {
	if err := w.prepare(ctx, updateIntentNotSent); err != nil {
		return err
	}
	var replay sql.Null[int64]
	err := w.prepared[updateIntentNotSent].QueryRowContext(ctx, id[:]).Scan(&replay)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil && replay.Valid {
		_, err = w.touch(ctx, replay.V)
	}
	return err
}

// ResolveAll implements [store.Replays].
func (s *Store) ResolveAll(ctx context.Context, ended []store.Ended) ([]bool, error) {
	if len(ended) == 0 {
		return nil, nil
	}
	resolved := make([]bool, len(ended))
	err := s.write(ctx, "resolve dead letters", func(ctx context.Context, w *writing) error {
		for i, e := range ended {
			var err error
			if resolved[i], err = w.resolve(ctx, e); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resolved, nil
}

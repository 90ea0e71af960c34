package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// The next type of a state that has dead letters which are not on hold.
	selectKeptType = `SELECT type FROM dead_letters INDEXED BY dead_letters_kept
WHERE state = ? AND held = 0 AND type >= ? ORDER BY type LIMIT 1`

	// The next type whose own policy has a field, which is not 0.
	selectKeepingType = `SELECT task_type FROM policies
WHERE task_type >= ? AND task_type <> '*' AND json_extract(settings, ?) > 0 ORDER BY task_type LIMIT 1`

	selectExpired = `SELECT sequence FROM dead_letters INDEXED BY dead_letters_kept
WHERE state = ? AND held = 0 AND type = ? AND update_time <= ? ORDER BY update_time LIMIT ?`

	deleteAuditEvents = `DELETE FROM audit_events WHERE sequence IN
	(SELECT sequence FROM audit_events ORDER BY sequence LIMIT ?) AND time <= ?`

	deleteExpiredSelections = `DELETE FROM selections WHERE expire_time <= ?`
)

// maxTypes bounds the types that one transaction looks at.
const maxTypes = 500

// Expire implements [store.Retention]. What to look at is found before the transaction
// that writes, which looks at it again.
func (s *Store) Expire(ctx context.Context, from store.ExpirePlace) ([]store.Expired, store.ExpirePlace, error) {
	const what = "end what was kept for long enough"
	search := search{place: from, now: s.clock().UnixMicro()}
	if err := s.read(ctx, what, func(tx *sql.Tx) error { return search.run(ctx, tx) }); err != nil {
		return nil, from, err
	}
	if len(search.found) == 0 {
		return nil, search.place, nil
	}
	var expired []store.Expired
	err := s.write(ctx, what, func(ctx context.Context, w *writing) error {
		expired = nil
		for _, sequence := range search.found {
			if err := w.stopped(); err != nil {
				return err
			}
			e, ok, err := w.expire(ctx, sequence)
			if err != nil {
				return err
			}
			if ok {
				expired = append(expired, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, from, err
	}
	return expired, search.place, nil
}

// search looks for dead letters whose retention has ended.
type search struct {
	place store.ExpirePlace
	now   int64
	found []int64
	types int
}

// run searches from the place on, to the end of the round or of what one call may look
// at, and moves the place there.
func (x *search) run(ctx context.Context, tx *sql.Tx) error {
	rules := newRulebook(tx)
	for state := max(x.place.State, store.StateOpen); state <= store.StatePurged; state++ {
		field, ok := store.RetentionOf(state)
		if !ok {
			continue
		}
		if state != x.place.State {
			x.place = store.ExpirePlace{State: state}
		}
		if full, err := x.state(ctx, tx, rules, field); full || err != nil {
			return err
		}
	}
	x.place = store.ExpirePlace{}
	return nil
}

// state searches the types of the place's state, and says whether that is enough.
func (x *search) state(ctx context.Context, tx *sql.Tx, rules *rulebook, field store.PolicyField) (full bool, err error) {
	for {
		taskType, ok, err := x.nextType(ctx, tx, rules, field)
		if err != nil || !ok {
			return false, err
		}
		if x.types == maxTypes {
			return true, nil
		}
		x.types++
		holds, err := rules.of(ctx, taskType)
		if err != nil {
			return false, err
		}
		if full, err := x.ofType(ctx, tx, taskType, holds, field); full || err != nil {
			return full, err
		}
		x.place.Type = taskType + "\x00" // the least that is greater
	}
}

// nextType is the next type of which something may have ended. Unless all types have a
// retention, those are the types whose own policies have one.
func (x *search) nextType(ctx context.Context, tx *sql.Tx, rules *rulebook, field store.PolicyField) (string, bool, error) {
	all, err := rules.of(ctx, store.AllTypes)
	if err != nil {
		return "", false, err
	}
	row := tx.QueryRowContext(ctx, selectKeptType, int64(x.place.State), x.place.Type)
	if all[field] == 0 {
		row = tx.QueryRowContext(ctx, selectKeepingType, x.place.Type, "$."+string(field))
	}
	var taskType string
	err = row.Scan(&taskType)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return taskType, err == nil, err
}

func (x *search) ofType(ctx context.Context, tx *sql.Tx, taskType string, holds store.Settings, field store.PolicyField) (full bool, err error) {
	if holds.Hold() || holds[field] == 0 {
		return false, nil
	}
	left := store.MaxExpired - len(x.found)
	sequences, err := collect(ctx, tx, func(row scanner) (n int64, err error) {
		err = row.Scan(&n)
		return n, err
	}, selectExpired, int64(x.place.State), taskType, x.now-holds[field], left)
	x.found = append(x.found, sequences...)
	return len(sequences) == left, err
}

// expire ends what is kept of a dead letter, unless it is to be kept after all.
func (w *writing) expire(ctx context.Context, sequence int64) (store.Expired, bool, error) {
	h, err := w.headAt(ctx, sequence)
	if errors.Is(err, store.ErrNotFound) {
		return store.Expired{}, false, nil
	}
	if err != nil {
		return store.Expired{}, false, err
	}
	holds, err := w.rules.of(ctx, h.taskType)
	field, ok := store.RetentionOf(h.state)
	if err != nil || !ok || h.held || holds.Hold() || holds[field] == 0 || h.updated+holds[field] > w.now {
		return store.Expired{}, false, err
	}
	e := store.Expired{ID: h.id.String(), Type: h.taskType, State: h.state}
	if h.state == store.StatePurged {
		return e, true, w.forget(ctx, h)
	}
	return e, true, w.purge(ctx, h, store.AuditEntry{
		Action: store.ActionExpire, Reason: fmt.Sprintf("%s: it has been %s for %s", field, h.state, holds.Age(field)),
	})
}

// Forget implements [store.Retention].
func (s *Store) Forget(ctx context.Context) (int, error) {
	events := 0
	err := s.write(ctx, "forget old audit events, replays and selections", func(ctx context.Context, w *writing) error {
		result, err := w.execute(ctx, deleteAuditEvents, store.MaxExpired, w.now-store.AuditRetention.Microseconds())
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		events = int(n)
		if err := w.forgetReplay(ctx, w.now-store.AuditRetention.Microseconds()); err != nil {
			return err
		}
		return w.exec(ctx, deleteExpiredSelections, w.now)
	})
	return events, err
}

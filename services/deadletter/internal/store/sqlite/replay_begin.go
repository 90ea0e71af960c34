package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// One dead letter for each member, with what its next run is made of.
	selectCandidates = `SELECT ` + deadLetterColumns + `, m.body, m.template, m.first_template, o.attempts,
	ifnull((SELECT max(i.run) FROM intents i WHERE i.dead_letter = d.sequence), 0)
FROM dead_letters d
LEFT JOIN messages m ON m.dead_letter = d.sequence
LEFT JOIN occurrences o ON o.dead_letter = d.sequence AND o.run = d.run
WHERE d.sequence IN (`

	updateBegun = `UPDATE dead_letters SET state = 2, version = version + 1, change = ?, reopen_run = ?, update_time = ?, operator_reason = ?,
	replay_id = ?, replay_count = replay_count + 1
WHERE sequence = ? AND version = ? AND state = 1 AND run < ?`

	updateEndedWell = `UPDATE dead_letters SET state = 3, version = version + 1, change = ?, reopen_run = ?, update_time = ?
WHERE sequence = ? AND version = ? AND state = 1`

	insertItemIntent = `INSERT INTO intents (id, dead_letter, run, state, time, reason, publishes, outcome, unroutable, call,
	replay, replay_position, max_attempts, expire_time, revision)
VALUES (?, ?, ?, 1, ?, ?, 1, 0, 0, nullif(?, ''), ?, ?, ?, ?, ?)`

	insertItem = `INSERT INTO replay_items (replay, position, id, state, verdict, message, run, revision, begin_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// Candidates implements [store.Replays].
func (s *Store) Candidates(ctx context.Context, members []store.Member) ([]store.Candidate, error) {
	members = members[:min(len(members), store.MaxPage)]
	if len(members) == 0 {
		return nil, nil
	}
	var found []store.Candidate
	err := s.read(ctx, "read what is to be replayed", func(tx *sql.Tx) (err error) {
		if found, err = candidates(ctx, tx, members); err != nil {
			return err
		}
		rules := newRulebook(tx)
		for i := range found {
			holds, err := rules.of(ctx, found[i].DeadLetter.Type)
			if err != nil {
				return err
			}
			found[i].TypeHeld = holds.Hold()
		}
		return nil
	})
	return found, err
}

// candidates reads the dead letters of members, which are in the order of their
// places, up to where their messages are too much.
func candidates(ctx context.Context, tx *sql.Tx, members []store.Member) ([]store.Candidate, error) {
	args := make([]any, len(members))
	out := make([]store.Candidate, len(members))
	for i, m := range members {
		args[i], out[i].Member = m.Sequence, m
	}
	rows, err := tx.QueryContext(ctx, selectCandidates+"?"+strings.Repeat(", ?", len(args)-1)+") ORDER BY d.sequence", args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	at, size := 0, 0
	for rows.Next() {
		c, n, err := scanCandidate(rows)
		if err != nil {
			return nil, err
		}
		for at < len(out) && out[at].Sequence < c.DeadLetter.Sequence {
			at++
		}
		if size += n; at > 0 && size > store.MaxPageBytes {
			return out[:at], nil
		}
		out[at].DeadLetter, out[at].Begun = c.DeadLetter, c.Begun
		at++
	}
	return out, rows.Err()
}

// wider is a row with columns behind those that are asked for.
type wider struct {
	scanner
	behind []any
}

// Scan implements [scanner].
func (w wider) Scan(columns ...any) error { return w.scanner.Scan(slices.Concat(columns, w.behind)...) }

func scanCandidate(row scanner) (store.Candidate, int, error) {
	var c store.Candidate
	var m store.Message
	var template, first []byte
	var attempts sql.Null[string]
	d, err := scanDeadLetter(wider{row, []any{&m.Body, &template, &first, &attempts, &c.Begun}})
	if err != nil {
		return c, 0, err
	}
	d.Message, d.Template, d.FirstTemplate = &m, template, first
	records, err := decodeAttempts(attempts)
	if err == nil && len(records) > 0 {
		d.Occurrences = []store.Occurrence{{Run: d.Run, Attempts: records}}
	}
	c.DeadLetter = d
	return c, len(m.Body) + len(template) + len(attempts.V), err
}

// BeginItems implements [store.Replays].
func (s *Store) BeginItems(ctx context.Context, b store.Begin) ([]bool, store.Replay, error) {
	begun := make([]bool, len(b.Items))
	r, err := s.changeReplay(ctx, "begin items of replay "+b.ReplayID, b.ReplayID, func(ctx context.Context, w *writing, r *replayRow) error {
		if !r.State.Begins() || r.Handled != b.Handled || int64(r.Handled+len(b.Items)) > r.Counts.Total {
			return fmt.Errorf("%w: it is %s at %d of %d", store.ErrMoved, r.State, r.Handled, r.Counts.Total)
		}
		for i := range b.Items {
			var err error
			if begun[i], err = w.beginItem(ctx, r, &b.Items[i]); err != nil {
				return fmt.Errorf("item %d: %w", r.Handled, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, store.Replay{}, err
	}
	return begun, r, nil
}

// beginItem handles the next member of a replay.
func (w *writing) beginItem(ctx context.Context, r *replayRow, item *store.BeginItem) (bool, error) {
	version, err := strconv.ParseInt(item.Etag, 10, 64)
	if err != nil {
		version = -1
	}
	var done bool
	verdict, message := item.Verdict, item.Message
	switch verdict {
	case store.VerdictReady:
		if err = w.unheldAt(ctx, item.Sequence); errors.Is(err, store.ErrHeld) {
			return false, w.skip(ctx, r, item, store.VerdictHeld, store.ErrHeld.Error())
		}
		if err == nil {
			done, err = w.begin1(ctx, r, item, version)
		}
	case store.VerdictAlreadySucceeded:
		done, err = w.endedWell(ctx, r, item, version)
	default:
		return false, w.skip(ctx, r, item, verdict, message)
	}
	if done && verdict == store.VerdictReady {
		return true, err
	}
	if err == nil && !done {
		verdict, message, err = w.whyNot(ctx, item.Sequence)
	}
	if err != nil {
		return false, err
	}
	return false, w.skip(ctx, r, item, verdict, message)
}

// begin1 begins an item; false if its dead letter has changed.
func (w *writing) begin1(ctx context.Context, r *replayRow, item *store.BeginItem, version int64) (bool, error) {
	id, err := uuid.Parse(item.IntentID)
	if err != nil {
		return false, fmt.Errorf("the id of an intent: %w", err)
	}
	ok, err := w.changed(ctx, updateBegun, w.change+1, int64(item.Run), w.now, r.By.Reason, r.ID, item.Sequence, version, int64(item.Run))
	if !ok || err != nil {
		return false, err
	}
	w.nextChange()
	err = w.exec(ctx, insertItemIntent, id[:], item.Sequence, int64(item.Run), w.now, r.By.Reason, r.By.Trace,
		r.Sequence, int64(r.Handled), int64(item.MaxAttempts), micros(item.ExpireTime), int64(item.Revision))
	if err != nil {
		return false, err
	}
	err = w.audit(ctx, item.Sequence, store.AuditEntry{
		Action: store.ActionReplay, From: store.StateOpen, To: store.StateInReplay, Run: item.Run, Reason: r.By.Reason, Actor: r.By.Actor,
	})
	if err != nil {
		return false, err
	}
	if r.StartTime.IsZero() {
		r.StartTime = time.UnixMicro(w.now).UTC()
	}
	return true, w.addItem(ctx, r, item, store.ItemInFlight, 0, "", item.Run, item.Revision)
}

// endedWell resolves the dead letter of an item; false if that has changed.
func (w *writing) endedWell(ctx context.Context, r *replayRow, item *store.BeginItem, version int64) (bool, error) {
	ok, err := w.changed(ctx, updateEndedWell, w.change+1, int64(item.Run)+1, w.now, item.Sequence, version)
	if !ok || err != nil {
		return false, err
	}
	w.nextChange()
	return true, w.audit(ctx, item.Sequence, store.AuditEntry{
		Action: store.ActionResolve, From: store.StateOpen, To: store.StateResolved, Run: item.Run, Reason: item.Message, Actor: r.By.Actor,
	})
}

// changed says whether a statement has changed a row.
func (w *writing) changed(ctx context.Context, query string, args ...any) (bool, error) {
	result, err := w.execute(ctx, query, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// whyNot says what has become of a dead letter that is not as it was judged.
func (w *writing) whyNot(ctx context.Context, sequence int64) (store.Verdict, string, error) {
	var state store.State
	err := w.tx.QueryRowContext(ctx, `SELECT state FROM dead_letters WHERE sequence = ?`, sequence).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return store.VerdictWrongState, "it is gone", nil
	}
	if err != nil {
		return 0, "", err
	}
	switch state {
	case store.StateInReplay:
		holder, err := holderOf(ctx, w.tx, sequence)
		return store.VerdictInReplay, holder.String(), err
	case store.StateQuarantined:
		return store.VerdictQuarantined, "it is QUARANTINED", nil
	case store.StateOpen:
		return store.VerdictChanged, "it has changed since it was selected", nil
	}
	return store.VerdictWrongState, "it is " + state.String(), nil
}

func (w *writing) skip(ctx context.Context, r *replayRow, item *store.BeginItem, verdict store.Verdict, message string) error {
	return w.addItem(ctx, r, item, store.ItemSkipped, verdict, message, 0, 0)
}

func (w *writing) addItem(
	ctx context.Context, r *replayRow, item *store.BeginItem, state store.ItemState, verdict store.Verdict, message string, run, revision int,
) error {
	var id any
	if u, err := uuid.Parse(item.DeadLetterID); err == nil {
		id = u[:]
	}
	err := w.exec(ctx, insertItem, r.Sequence, int64(r.Handled), id, int64(state), int64(verdict), message, int64(run), int64(revision), w.now)
	r.Handled++
	*r.counter(state)++
	return err
}

const selectHolder = `SELECT ifnull(a.actor, ''), ifnull(a.time, d.update_time), d.replay_id, d.state FROM dead_letters d
LEFT JOIN audit a ON a.sequence = (SELECT max(sequence) FROM audit WHERE dead_letter = d.sequence AND action = 'REPLAY')
WHERE d.sequence = ?`

// holderOf is who replays a dead letter.
func holderOf(ctx context.Context, tx *sql.Tx, sequence int64) (store.Holder, error) {
	var h store.Holder
	var since int64
	var state store.State
	err := tx.QueryRowContext(ctx, selectHolder, sequence).Scan(&h.Actor, &since, &h.ReplayID, &state)
	if err != nil || state != store.StateInReplay {
		return store.Holder{}, err
	}
	h.Since = time.UnixMicro(since).UTC()
	return h, nil
}

// Holder implements [store.Replays].
func (s *Store) Holder(ctx context.Context, id string) (store.Holder, error) {
	var h store.Holder
	err := s.read(ctx, "read who replays "+id, func(tx *sql.Tx) error {
		d, err := get(ctx, tx, id)
		if err != nil {
			return err
		}
		h, err = holderOf(ctx, tx, d.Sequence)
		return err
	})
	return h, err
}

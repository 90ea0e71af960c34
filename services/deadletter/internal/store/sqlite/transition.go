package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const updateState = `UPDATE dead_letters SET state = ?, version = version + 1, change = ?, reopen_run = ?, update_time = ?,
	operator_reason = iif(?, ?, operator_reason), replay_id = '', replay_count = replay_count + ?
WHERE sequence = ?`

// transition is a change of a dead letter's state that is not an arrival.
type transition struct {
	action store.AuditAction
	to     store.State
	// run is the one that it is about; the death of reopenRun, or a later one,
	// makes the dead letter OPEN again.
	run, reopenRun int
	reason         string
	// by is the call that asks for it; its reason is shown as the operator's.
	by store.Call
}

func (w *writing) transit(ctx context.Context, h head, t transition) error {
	if err := w.move(ctx, h, t); err != nil {
		return err
	}
	return w.record(ctx, t.by, store.ResourceDeadLetter+h.id.String(),
		store.AuditChange{Field: "state", Before: h.state.String(), After: t.to.String()})
}

// move is transit without an audit event.
func (w *writing) move(ctx context.Context, h head, t transition) error {
	err := w.exec(ctx, updateState, int64(t.to), w.nextChange(), int64(t.reopenRun), w.now, t.by.Reason != "", t.by.Reason,
		t.to == store.StateInReplay, h.sequence)
	if err != nil {
		return err
	}
	return w.audit(ctx, h.sequence, store.AuditEntry{
		Action: t.action, From: h.state, To: t.to, Run: t.run, Reason: cmp.Or(t.reason, t.by.Reason), Actor: t.by.Actor,
	})
}

// open reads a dead letter that must be OPEN, or in one of the other states, and have
// the etag, if there is one.
func (w *writing) open(ctx context.Context, id, etag string, replayable bool, or ...store.State) (head, error) {
	h, err := w.head(ctx, id)
	switch {
	case err != nil:
		return h, err
	case replayable && h.foreign:
		return h, store.ErrNotReplayable
	case h.state != store.StateOpen && !slices.Contains(or, h.state):
		return h, w.notOpen(ctx, h)
	case etag != "" && etag != etagOf(h.version):
		return h, fmt.Errorf("%w: its etag is %s", store.ErrEtag, etagOf(h.version))
	}
	return h, nil
}

// notOpen is the error about a dead letter that is not OPEN.
func (w *writing) notOpen(ctx context.Context, h head) error {
	holder, err := holderOf(ctx, w.tx, h.sequence)
	if err != nil {
		return err
	}
	return &store.NotOpenError{ID: h.id.String(), State: h.state, Holder: holder}
}

// BeginReplay implements [store.Store].
func (s *Store) BeginReplay(ctx context.Context, r store.ReplayRequest) (store.DeadLetter, store.Intent, error) {
	var d store.DeadLetter
	var intent store.Intent
	err := s.write(ctx, "begin a replay of "+r.ID, func(ctx context.Context, w *writing) error {
		h, err := w.open(ctx, r.ID, r.Etag, true)
		if err != nil {
			return err
		}
		if err := w.unheld(ctx, h); err != nil {
			return err
		}
		if !nextRun(r.Run, h.run) {
			return fmt.Errorf("%w: run %d, %d has died", store.ErrRun, r.Run, h.run)
		}
		// A run that was begun and given up is not begun again.
		if err := w.tx.QueryRowContext(ctx, selectNextRun, r.Run, h.sequence).Scan(&r.Run); err != nil {
			return err
		}
		if intent, err = w.intend(ctx, h, r); err != nil {
			return err
		}
		err = w.transit(ctx, h, transition{
			action: store.ActionReplay, to: store.StateInReplay, run: r.Run, reopenRun: r.Run, by: r.By,
		})
		if err != nil {
			return err
		}
		d, err = loadOne(ctx, w.tx, h.id)
		return err
	})
	if err != nil {
		return store.DeadLetter{}, store.Intent{}, err
	}
	return d, intent, nil
}

// ResolveNow implements [store.Store].
func (s *Store) ResolveNow(ctx context.Context, r store.ResolveRequest) (store.DeadLetter, error) {
	return s.transitWaiting(ctx, "resolve "+r.ID, r.ID, r.Etag, true, func(_ *writing, h head) (transition, error) {
		run := max(r.Run, h.run)
		return transition{action: store.ActionResolve, to: store.StateResolved, run: run, reopenRun: run + 1, reason: r.Reason, by: r.By}, nil
	})
}

// Discard implements [store.Store].
func (s *Store) Discard(ctx context.Context, r store.DiscardRequest) (store.DeadLetter, error) {
	return s.transitWaiting(ctx, "discard "+r.ID, r.ID, r.Etag, false, func(w *writing, h head) (transition, error) {
		return discarding(h, r.By), w.unheld(context.WithoutCancel(ctx), h)
	})
}

func discarding(h head, by store.Call) transition {
	return transition{action: store.ActionDiscard, to: store.StateDiscarded, run: h.run, reopenRun: h.run + 1, by: by}
}

// transitWaiting changes the state of a dead letter that must be OPEN or QUARANTINED.
func (s *Store) transitWaiting(
	ctx context.Context, what, id, etag string, replayable bool, next func(*writing, head) (transition, error),
) (store.DeadLetter, error) {
	var d store.DeadLetter
	err := s.write(ctx, what, func(ctx context.Context, w *writing) error {
		h, err := w.open(ctx, id, etag, replayable, store.StateQuarantined)
		if err != nil {
			return err
		}
		t, err := next(w, h)
		if err != nil {
			return err
		}
		if err := w.transit(ctx, h, t); err != nil {
			return err
		}
		d, err = loadOne(ctx, w.tx, h.id)
		return err
	})
	return d, err
}

// Resolve implements [store.Store].
func (s *Store) Resolve(ctx context.Context, id string, run int, outcome store.Outcome) (bool, error) {
	resolved := false
	err := s.write(ctx, "resolve "+id, func(ctx context.Context, w *writing) (err error) {
		resolved, err = w.resolve(ctx, store.Ended{DeadLetterID: id, Run: run, Outcome: outcome})
		return err
	})
	return resolved && err == nil, err
}

func (w *writing) resolve(ctx context.Context, e store.Ended) (bool, error) {
	h, err := w.head(ctx, e.DeadLetterID)
	// An IN_REPLAY dead letter's next death that counts is that of the replay.
	if err != nil || h.state != store.StateInReplay || h.reopenRun != e.Run {
		return false, err
	}
	if _, err := w.endIntents(ctx, h.sequence, e.Run, e.Outcome); err != nil {
		return false, err
	}
	return true, w.transit(ctx, h, transition{
		action: store.ActionResolve, to: store.StateResolved, run: e.Run, reopenRun: e.Run + 1, reason: e.Outcome.String(),
	})
}

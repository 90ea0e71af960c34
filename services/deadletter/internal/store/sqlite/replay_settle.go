package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	updateReplay = `UPDATE replays SET state = ?, paused_from = ?, state_reason = ?, version = ?, plan = ?, handled = ?, in_flight = ?,
	succeeded = ?, failed_again = ?, cancelled = ?, skipped = ?, unknown = ?, taken_back = ?, start_time = ?, update_time = ?, end_time = ?
WHERE sequence = ?`

	updateItemEnded = `UPDATE replay_items SET state = ?, end_time = ? WHERE replay = ? AND position = ? AND state = 2`

	// PENDING intents whose message cannot be in a queue.
	selectUnsent = `SELECT i.sequence, i.dead_letter, i.replay_position, i.run FROM intents i
WHERE i.state = 1 AND i.replay = ? AND i.publishes = 0`
	deleteIntent = `DELETE FROM intents WHERE sequence = ?`

	updateTakenBack = `UPDATE dead_letters SET state = 1, version = version + 1, change = ?, reopen_run = run + 1, update_time = ?,
	replay_id = '', replay_count = max(replay_count - 1, 0)
WHERE sequence = ? AND state = 2 AND reopen_run = ?`
	updateItemTakenBack = `UPDATE replay_items SET state = 1, run = 0, revision = 0, begin_time = NULL WHERE replay = ? AND position = ?`
)

// minEnded is how many items have ended before their failures may abort a replay.
const minEnded = 10

// touch is a replay that the transaction changes. It is written when the transaction
// ends.
func (w *writing) touch(ctx context.Context, sequence int64) (*replayRow, error) {
	if r := w.replays[sequence]; r != nil {
		return r, nil
	}
	r, err := scanReplay(w.tx.QueryRowContext(ctx, selectReplayBySeq, sequence))
	if err != nil {
		return nil, fmt.Errorf("read replay %d: %w", sequence, err)
	}
	w.keep(r)
	return r, nil
}

// keep has a replay that was read written when the transaction ends.
func (w *writing) keep(r *replayRow) {
	if w.replays == nil {
		w.replays = map[int64]*replayRow{}
	}
	w.replays[r.Sequence] = r
}

// leaveAs has a replay not written after all.
func (w *writing) leaveAs(r *replayRow) { delete(w.replays, r.Sequence) }

// itemEnded ends an item that is in flight.
func (w *writing) itemEnded(ctx context.Context, replay, position int64, to store.ItemState) error {
	r, err := w.touch(ctx, replay)
	if err != nil {
		return err
	}
	result, err := w.execute(ctx, updateItemEnded, int64(to), w.now, replay, position)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	r.Counts.InFlight--
	*r.counter(to)++
	return nil
}

// counter counts the items of a state that is not PENDING.
func (r *replayRow) counter(s store.ItemState) *int64 {
	switch s {
	case store.ItemInFlight:
		return &r.Counts.InFlight
	case store.ItemSucceeded:
		return &r.Counts.Succeeded
	case store.ItemFailedAgain:
		return &r.Counts.FailedAgain
	case store.ItemCancelled:
		return &r.Counts.Cancelled
	case store.ItemUnknown:
		return &r.Counts.Unknown
	}
	return &r.Counts.Skipped
}

// settle writes the replays that the transaction has changed, in the state which their
// counts put them into.
func (w *writing) settle(ctx context.Context) error {
	for _, sequence := range slices.Sorted(maps.Keys(w.replays)) {
		r := w.replays[sequence]
		r.judge()
		if r.State == store.ReplayCancelled || r.State == store.ReplayAborted {
			if err := w.takeBack(ctx, r); err != nil {
				return err
			}
		}
		r.finish(w.now)
		if err := w.updateReplay(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// move changes the state.
func (r *replayRow) move(to store.ReplayState, reason string) {
	r.State, r.StateReason = to, reason
	r.version++
}

// judge says what the outcomes so far mean.
func (r *replayRow) judge() {
	if !r.State.Begins() {
		return
	}
	c := &r.Counts
	bad := c.FailedAgain + c.Cancelled + c.Unknown
	if r.State == store.ReplayCanary {
		switch {
		case bad > 0:
			r.move(store.ReplayAborted, fmt.Sprintf("its canary of %d failed: %d failed again, %d were cancelled, %d are unknown; %d succeeded",
				r.Plan.Canary, c.FailedAgain, c.Cancelled, c.Unknown, c.Succeeded))
			return
		case c.Succeeded >= int64(r.Plan.Canary):
			r.move(store.ReplayRunning, fmt.Sprintf("its canary of %d succeeded", r.Plan.Canary))
		}
	}
	ended := c.Succeeded + bad
	if limit := r.Plan.AbortRatio; limit > 0 && ended >= minEnded && float64(c.FailedAgain) > limit*float64(ended) {
		r.move(store.ReplayAborted, fmt.Sprintf("of %d that ended, %d failed again, more than the share of %g", ended, c.FailedAgain, limit))
	}
}

// finish ends a replay that has nothing left.
func (r *replayRow) finish(now int64) {
	r.Counts.Pending = r.pending()
	if !r.EndTime.IsZero() || r.Counts.InFlight > 0 {
		return
	}
	if !r.State.Over() {
		if r.Counts.Pending > 0 {
			return
		}
		r.pausedFrom = 0
		r.move(store.ReplayCompleted, "every item has ended")
	}
	r.EndTime = time.UnixMicro(now).UTC()
}

func (w *writing) updateReplay(ctx context.Context, r *replayRow) error {
	plan, err := encode(r.Plan, 1)
	if err != nil {
		return err
	}
	r.UpdateTime, r.Etag = time.UnixMicro(w.now).UTC(), etagOf(r.version)
	c := &r.Counts
	return w.exec(ctx, updateReplay, int64(r.State), int64(r.pausedFrom), r.StateReason, r.version, plan, int64(r.Handled), c.InFlight,
		c.Succeeded, c.FailedAgain, c.Cancelled, c.Skipped, c.Unknown, r.takenBack, micros(r.StartTime), w.now, micros(r.EndTime), r.Sequence)
}

// unsent is an intent that was begun and whose message cannot be in a queue.
type unsent struct{ sequence, deadLetter, position, run int64 }

// takeBack makes OPEN again what was begun for a replay that is over, and certainly not
// published. Its items are pending, and stay so.
func (w *writing) takeBack(ctx context.Context, r *replayRow) error {
	all, err := collect(ctx, w.tx, func(row scanner) (u unsent, err error) {
		return u, row.Scan(&u.sequence, &u.deadLetter, &u.position, &u.run)
	}, selectUnsent, r.Sequence)
	if err != nil {
		return err
	}
	for _, u := range all {
		if err := w.takeBackOne(ctx, r, u); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) takeBackOne(ctx context.Context, r *replayRow, u unsent) error {
	if err := w.exec(ctx, deleteIntent, u.sequence); err != nil {
		return err
	}
	if err := w.exec(ctx, updateTakenBack, w.nextChange(), w.now, u.deadLetter, u.run); err != nil {
		return err
	}
	if err := w.exec(ctx, updateItemTakenBack, r.Sequence, u.position); err != nil {
		return err
	}
	r.Counts.InFlight--
	r.takenBack++
	return w.audit(ctx, u.deadLetter, store.AuditEntry{
		Action: store.ActionReopen, From: store.StateInReplay, To: store.StateOpen, Run: int(u.run),
		Reason: "the replay is " + r.State.String() + " and has not published it",
	})
}

// StartReplay implements [store.Replays].
func (s *Store) StartReplay(ctx context.Context, id string) (store.Replay, error) {
	return s.changeReplay(ctx, "start replay "+id, id, func(_ context.Context, w *writing, r *replayRow) error {
		if r.State != store.ReplayPending {
			w.leaveAs(r)
			return nil
		}
		r.move(started(&r.Plan), "")
		return nil
	})
}

// changeReplay changes a replay, and returns it as it is then.
func (s *Store) changeReplay(ctx context.Context, what, id string, change func(context.Context, *writing, *replayRow) error) (store.Replay, error) {
	var out store.Replay
	err := s.write(ctx, what, func(ctx context.Context, w *writing) error {
		r, err := findReplay(ctx, w.tx, id)
		if err != nil {
			return err
		}
		w.keep(r)
		if err := change(ctx, w, r); err != nil {
			return err
		}
		if err := w.settle(ctx); err != nil {
			return err
		}
		w.leaveAs(r)
		out, err = r.shown(ctx, w.tx, w.now)
		return err
	})
	return out, err
}

// SteerReplay implements [store.Replays].
func (s *Store) SteerReplay(ctx context.Context, x store.Steering) (store.Replay, error) {
	return s.changeReplay(ctx, "steer replay "+x.ReplayID, x.ReplayID, func(ctx context.Context, w *writing, r *replayRow) error {
		if x.Etag != "" && x.Etag != etagOf(r.version) {
			return fmt.Errorf("%w: its etag is %s", store.ErrEtag, etagOf(r.version))
		}
		if r.State == store.ReplayCancelled && x.Action == store.SteerCancel {
			w.leaveAs(r)
			return nil
		}
		if r.State.Over() {
			return &store.ReplayEndedError{State: r.State}
		}
		changes := r.steer(&x)
		if len(changes) == 0 {
			w.leaveAs(r)
			return nil
		}
		return w.record(ctx, x.By, store.ResourceReplay+r.ID, changes...)
	})
}

// steer does what an operator asks for, and says what that changes.
func (r *replayRow) steer(x *store.Steering) []store.AuditChange {
	before := r.State
	switch x.Action {
	case store.SteerPause:
		if before != store.ReplayPaused {
			r.pausedFrom = before
			r.move(store.ReplayPaused, x.By.Reason)
		}
	case store.SteerResume:
		if before == store.ReplayPaused {
			r.move(cmp.Or(r.pausedFrom, store.ReplayRunning), x.By.Reason)
			r.pausedFrom = 0
		}
	case store.SteerCancel:
		r.pausedFrom = 0
		r.move(store.ReplayCancelled, x.By.Reason)
	case store.SteerUpdate:
		return r.replan(x)
	}
	if r.State == before {
		return nil
	}
	return []store.AuditChange{{Field: "state", Before: before.String(), After: r.State.String()}}
}

func (r *replayRow) replan(x *store.Steering) (changes []store.AuditChange) {
	if n := x.MaxPerSecond; n != nil && *n != r.Plan.MaxPerSecond {
		changes = append(changes, store.AuditChange{Field: "max_per_second", Before: fmt.Sprint(r.Plan.MaxPerSecond), After: fmt.Sprint(*n)})
		r.Plan.MaxPerSecond = *n
	}
	if n := x.MaxInFlight; n != nil && *n != r.Plan.MaxInFlight {
		changes = append(changes, store.AuditChange{Field: "max_in_flight", Before: fmt.Sprint(r.Plan.MaxInFlight), After: fmt.Sprint(*n)})
		r.Plan.MaxInFlight = *n
	}
	if len(changes) > 0 {
		r.version++
	}
	return changes
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertNotification = `INSERT INTO notifications (id, dead_letter, run, state, time, attempts, next_time, last_error,
	rule, channel, trigger, type, cause, code, group_id, held_back, measured)
VALUES (?, ?, ?, 1, ?, 0, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (dead_letter, run, rule, channel) DO NOTHING`

	selectMuted = `SELECT ifnull(mute_until > ?, FALSE) FROM groups WHERE id = ?`

	selectMark = `SELECT time, held_back, holds FROM notification_marks WHERE rule = ? AND subject = ?`

	replaceMark = `REPLACE INTO notification_marks (rule, subject, time, held_back, holds) VALUES (?, ?, ?, ?, ?)`

	upsertCount = `INSERT INTO notification_counts (rule, slot, count) VALUES (?, ?, ?)
ON CONFLICT (rule, slot) DO UPDATE SET count = count + excluded.count`

	// The conditions on the state are that of the index, word by word.
	countHeldBack = `UPDATE notifications INDEXED BY notifications_due SET held_back = held_back + 1
WHERE state = 1 AND channel = ? AND next_time = ? AND rule = ? AND group_id = ?`

	deleteOldCounts = `DELETE FROM notification_counts WHERE rule = ? AND slot < ?`
)

// builtIn is the rule of the command line, which has decided already.
var builtIn = store.Rule{ID: store.BuiltInRule, Trigger: store.TriggerDeadLetter, Channels: []string{store.BuiltInRule}}

// tell enqueues the notifications of an arrival at a dead letter that was in a state, 0 for
// none, and says whether there are any.
func (w *writing) tell(ctx context.Context, sequence int64, a *store.Arrival, change store.Change, from store.State) (bool, error) {
	rules, err := w.rulesNow(ctx)
	if err != nil || len(rules) == 0 && !a.Notify {
		return false, err
	}
	if muted, err := w.muted(ctx, change.GroupID); err != nil || muted {
		return false, err
	}
	x := store.Notification{
		Type: a.Type, Cause: a.Occurrence.Cause, Run: change.Run, GroupID: change.GroupID, Code: codeOf(a),
	}
	told := false
	if a.Notify && happened(store.TriggerDeadLetter, change, from) {
		if told, err = w.tellBy(ctx, &builtIn, sequence, x); err != nil {
			return told, err
		}
	}
	for i := range rules {
		r := &rules[i]
		if r.Disabled || !r.Matches(x.Type, x.Code) {
			continue
		}
		if r.Trigger == store.TriggerRate {
			w.told.arrivals[i]++
			continue
		}
		if !happened(r.Trigger, change, from) {
			continue
		}
		more, err := w.tellBy(ctx, r, sequence, x)
		if err != nil {
			return told, err
		}
		told = told || more
	}
	return told, nil
}

func codeOf(a *store.Arrival) int {
	if f := a.Occurrence.Failure; f != nil {
		return f.Code
	}
	return 0
}

// happened says whether a change is what a trigger stands for.
func happened(t store.Trigger, change store.Change, from store.State) bool {
	arrived := change.Kind == store.ChangeCreated || change.Kind == store.ChangeDiedAgain
	switch t {
	case store.TriggerDeadLetter:
		return arrived
	case store.TriggerNewGroup:
		return change.GroupCreated
	case store.TriggerRegressedGroup:
		return change.GroupRegressed
	case store.TriggerQuarantine:
		return arrived && change.State == store.StateQuarantined && from != store.StateQuarantined
	default:
		return false
	}
}

// muted says whether nobody is told of a group now.
func (w *writing) muted(ctx context.Context, groupID string) (muted bool, err error) {
	if groupID == "" {
		return false, nil
	}
	if err := w.prepare(ctx, selectMuted); err != nil {
		return false, err
	}
	err = w.prepared[selectMuted].QueryRowContext(ctx, w.now, groupID).Scan(&muted)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return muted, err
}

// tellBy enqueues what a rule tells of a dead letter, and says whether it is due now.
// Within the throttle the first is due at its end, and those that follow are counted with
// that one.
func (w *writing) tellBy(ctx context.Context, r *store.Rule, sequence int64, x store.Notification) (bool, error) {
	x.Trigger = r.Trigger
	due := w.now
	if r.Throttle > 0 {
		m, err := w.mark(ctx, r.ID, x.GroupID)
		if err != nil {
			return false, err
		}
		throttle := r.Throttle.Microseconds()
		switch since := w.now - m.time; {
		case m.time == 0 || since >= throttle || since < -throttle: // the last: a clock that was put back
		case since >= 0:
			due = m.time + throttle
		default:
			if counted, err := w.holdBack(ctx, r, x.GroupID, m.time); counted || err != nil {
				return false, err
			}
		}
		if err := w.keepMark(ctx, r.ID, x.GroupID, mark{time: due}); err != nil {
			return false, err
		}
	}
	return due == w.now, w.enqueue(ctx, r, sequence, x, due, nil)
}

// holdBack counts one more of what a rule tells of a group at a time to come. It says
// whether there is anything that is to be told then.
func (w *writing) holdBack(ctx context.Context, r *store.Rule, groupID string, due int64) (bool, error) {
	var counted int64
	for _, channel := range r.Channels {
		result, err := w.execute(ctx, countHeldBack, channel, due, r.ID, groupID)
		if err != nil {
			return false, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return false, err
		}
		counted += n
	}
	return counted > 0, nil
}

// mark is what a rule has told of a subject.
type mark struct {
	// time is when it did last, or when it will if that is to come. Of a condition: held is
	// how often it was held back since, told how often it was when it told.
	time, held, told int64
	// holds is whether a condition holds.
	holds holding
}

// holding is whether the condition of a rule holds, and was told.
type holding int64

// How it stands with a condition. The numbers are stored.
const (
	notHolding holding = iota
	holdingTold
	// holdingUntold waits for the end of the throttle.
	holdingUntold
)

func (w *writing) mark(ctx context.Context, rule, subject string) (m mark, err error) {
	if err := w.prepare(ctx, selectMark); err != nil {
		return m, err
	}
	err = w.prepared[selectMark].QueryRowContext(ctx, rule, subject).Scan(&m.time, &m.held, &m.holds)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return m, err
}

func (w *writing) keepMark(ctx context.Context, rule, subject string, m mark) error {
	return w.exec(ctx, replaceMark, rule, subject, m.time, m.held, int64(m.holds))
}

// throttle says whether a rule may tell of its condition now, and notes what follows. A clock that was put
// back holds nothing back.
func (w *writing) throttle(m *mark, r *store.Rule) bool {
	if since := w.now - m.time; m.time > 0 && since >= 0 && since < r.Throttle.Microseconds() {
		m.held++
		return false
	}
	m.told, m.held, m.time = m.held, 0, w.now
	return true
}

// enqueue makes a notification for each channel of a rule, due at a time. A sequence of 0
// is no dead letter.
func (w *writing) enqueue(ctx context.Context, r *store.Rule, sequence int64, x store.Notification, due int64, measured any) error {
	var deadLetter any
	if sequence > 0 {
		deadLetter = sequence
	}
	for _, channel := range r.Channels {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		err = w.exec(ctx, insertNotification, id[:], deadLetter, int64(x.Run), due, due, r.ID, channel, int64(r.Trigger),
			x.Type, int64(x.Cause), int64(x.Code), x.GroupID, x.HeldBack, measured)
		if err != nil {
			return err
		}
	}
	return nil
}

// rateSlots is how many parts the arrivals within the window of a rule are counted in.
const rateSlots = 60

func slotWidth(window time.Duration) int64 { return max(window.Microseconds()/rateSlots, 1) }

// keepArrivals stores what the transaction has counted for rules of TriggerRate.
func (w *writing) keepArrivals(ctx context.Context) error {
	for i, n := range w.told.arrivals {
		r := &w.told.rules[i]
		width := slotWidth(r.Window)
		if err := w.exec(ctx, upsertCount, r.ID, w.now/width*width, n); err != nil {
			return err
		}
		if err := w.exec(ctx, deleteOldCounts, r.ID, w.now-r.Window.Microseconds()-2*width); err != nil {
			return err
		}
	}
	return nil
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectGroupHead = `SELECT sequence, state, state_time FROM groups WHERE id = ?`

	insertGroup = `INSERT INTO groups (id, state, version, type, cause, code, domain, reason, message, custom,
	fingerprint_version, count, dead_letters, open, first_seen, last_seen, state_time, note)
VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, 1, 0, 0, ?, ?, ?, '')`

	updateGroupSeen = `UPDATE groups SET count = count + 1, first_seen = min(first_seen, ?), last_seen = max(last_seen, ?)
WHERE sequence = ?`

	updateGroupState = `UPDATE groups SET state = ?, version = version + 1, state_time = ? WHERE sequence = ?`

	countHour = `INSERT INTO group_hours (failure_group, hour, count) VALUES (?, ?, 1)
ON CONFLICT (failure_group, hour) DO UPDATE SET count = count + 1`
)

// death is a run that died, as its group is made of it.
type death struct {
	taskType, reason string
	cause            int64
	code             int64
	dead             int64
	fingerprint      store.Fingerprint
}

// groupHead is what decides about changes of a group.
type groupHead struct {
	sequence int64
	state    store.GroupState
	// stateTime is when it came to be in that state, in microseconds.
	stateTime int64
	created   bool
}

// groupArrival counts an arrival for its group, which it makes if it is the first, and
// REGRESSED if it is a death after the group was RESOLVED.
func (w *writing) groupArrival(ctx context.Context, a *store.Arrival, change *store.Change) error {
	if a.Fingerprint.GroupID == "" {
		return nil
	}
	o := &a.Occurrence
	d := death{
		taskType: a.Type, reason: o.Reason, cause: int64(o.Cause), dead: o.DeadTime.UnixMicro(), fingerprint: a.Fingerprint,
	}
	if o.Failure != nil {
		d.code = int64(o.Failure.Code)
	}
	g, err := w.countDeath(ctx, &d)
	if err != nil {
		return err
	}
	change.GroupID, change.GroupCreated = a.Fingerprint.GroupID, g.created
	if g.state != store.GroupResolved || change.Kind == store.ChangeHistory || secondOf(d.dead) < secondOf(g.stateTime) {
		return nil
	}
	change.GroupRegressed = true
	return w.exec(ctx, updateGroupState, int64(store.GroupRegressed), w.now, g.sequence)
}

// secondOf is the second of a time in microseconds: deaths that the broker tells of are
// dated no finer.
func secondOf(micros int64) int64 { return micros / time.Second.Microseconds() }

// countDeath counts a run for its group, which it makes if there is none.
func (w *writing) countDeath(ctx context.Context, d *death) (groupHead, error) {
	g, err := w.groupHead(ctx, d.fingerprint.GroupID)
	if err != nil {
		return g, err
	}
	if g.created {
		g.sequence, err = w.makeGroup(ctx, d)
	} else {
		err = w.exec(ctx, updateGroupSeen, d.dead, d.dead, g.sequence)
	}
	if err != nil {
		return g, err
	}
	if hour := hourOf(min(d.dead, w.now)); hour >= w.firstHour() {
		err = w.exec(ctx, countHour, g.sequence, hour)
	}
	return g, err
}

// groupHead reads the head of a group; created says that there is none.
func (w *writing) groupHead(ctx context.Context, id string) (g groupHead, err error) {
	if err := w.prepare(ctx, selectGroupHead); err != nil {
		return g, err
	}
	err = w.prepared[selectGroupHead].QueryRowContext(ctx, id).Scan(&g.sequence, &g.state, &g.stateTime)
	if errors.Is(err, sql.ErrNoRows) {
		return groupHead{created: true}, nil
	}
	return g, err
}

func (w *writing) makeGroup(ctx context.Context, d *death) (int64, error) {
	f := &d.fingerprint
	result, err := w.execute(ctx, insertGroup, f.GroupID, int64(store.GroupOpen), store.CutGroupText(d.taskType), d.cause, d.code,
		f.Domain, store.CutGroupText(d.reason), f.Message, f.Custom, int64(f.Version), d.dead, d.dead, w.now)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// hourOf is the hour since 1970 of a time in microseconds.
func hourOf(micros int64) int64 { return micros / time.Hour.Microseconds() }

// firstHour is the first hour that is still counted.
func (w *writing) firstHour() int64 { return hourOf(w.now - store.GroupHours.Microseconds()) }

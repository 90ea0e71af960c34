package sqlite

import (
	"context"
	"database/sql"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectUngrouped = `SELECT sequence, type FROM dead_letters WHERE fingerprint_version < ? ORDER BY fingerprint_version, sequence LIMIT ?`

	selectUngroupedRuns = `SELECT run, cause, reason, failure FROM occurrences WHERE dead_letter = ? ORDER BY run`

	selectGroupedRuns = `SELECT o.run, o.group_id, o.cause, ifnull(json_extract(o.failure, '$.code'), 0), o.reason, o.dead_time, d.type
FROM occurrences o JOIN dead_letters d ON d.sequence = o.dead_letter WHERE o.dead_letter = ?`

	updateRunGroup = `UPDATE occurrences SET group_id = ? WHERE dead_letter = ? AND run = ?`

	// What was purged has no occurrences, and stays where it is.
	updateDeadLetterGroup = `UPDATE dead_letters SET
	group_id = ifnull((SELECT o.group_id FROM occurrences o WHERE o.dead_letter = sequence AND o.run = dead_letters.run), group_id),
	fingerprint_version = iif(EXISTS (SELECT 1 FROM occurrences o WHERE o.dead_letter = sequence AND o.group_id = ''), 0, ?)
WHERE sequence = ?`

	inheritGroup = `UPDATE groups SET (state, note, mute_until, state_time) = (SELECT f.state, f.note, f.mute_until, f.state_time FROM groups f WHERE f.id = ?)
WHERE sequence = ? AND EXISTS (SELECT 1 FROM groups f WHERE f.id = ?)`

	uncountDeath = `UPDATE groups SET count = count - 1 WHERE id = ?`

	uncountHour = `UPDATE group_hours SET count = max(count - 1, 0) WHERE hour = ? AND failure_group = (SELECT sequence FROM groups WHERE id = ?)`

	deleteEmptyGroup = `DELETE FROM groups WHERE id = ? AND count <= 0 AND dead_letters = 0`
)

// Ungrouped implements [store.Groups].
func (s *Store) Ungrouped(ctx context.Context, version, limit int) ([]store.Ungrouped, error) {
	limit = min(max(limit, 0), store.MaxUngrouped)
	var all []store.Ungrouped
	err := s.read(ctx, "look for dead letters without a failure group", func(tx *sql.Tx) (err error) {
		all, err = collect(ctx, tx, func(row scanner) (u store.Ungrouped, err error) {
			err = row.Scan(&u.Sequence, &u.Type)
			return u, err
		}, selectUngrouped, version, limit)
		if err != nil {
			return err
		}
		size := 0
		for i := range all {
			u := &all[i]
			u.Runs, err = collect(ctx, tx, func(row scanner) (r store.UngroupedRun, err error) {
				var failure sql.Null[string]
				if err := row.Scan(&r.Run, &r.Cause, &r.Reason, &failure); err != nil {
					return r, err
				}
				size += len(failure.V)
				r.Failure, err = decodeFailure(failure)
				return r, err
			}, selectUngroupedRuns, u.Sequence)
			if err != nil {
				return err
			}
			if i > 0 && size > store.MaxPageBytes {
				all = all[:i]
				return nil
			}
		}
		return nil
	})
	return all, err
}

// Regroup implements [store.Groups].
func (s *Store) Regroup(ctx context.Context, regroupings []store.Regrouping) error {
	return s.write(ctx, "group dead letters", func(ctx context.Context, w *writing) error {
		left := map[string]bool{}
		for i := range regroupings {
			if err := w.stopped(); err != nil {
				return err
			}
			if err := w.regroup(ctx, &regroupings[i], left); err != nil {
				return err
			}
		}
		for id := range left {
			if err := w.exec(ctx, deleteEmptyGroup, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// groupedRun is a run that died, and the group that it is in.
type groupedRun struct {
	death
	run  int
	from string
}

// regroup puts the runs of a dead letter into groups, and notes those that they leave.
func (w *writing) regroup(ctx context.Context, r *store.Regrouping, left map[string]bool) error {
	runs, err := collect(ctx, w.tx, func(row scanner) (x groupedRun, err error) {
		err = row.Scan(&x.run, &x.from, &x.cause, &x.code, &x.reason, &x.dead, &x.taskType)
		return x, err
	}, selectGroupedRuns, r.Sequence)
	if err != nil {
		return err
	}
	for i := range runs {
		x := &runs[i]
		if x.fingerprint = r.Runs[x.run].Normalize(); x.fingerprint.GroupID == "" || x.fingerprint.GroupID == x.from {
			continue
		}
		if err := w.regroupRun(ctx, r.Sequence, x); err != nil {
			return err
		}
		if x.from != "" {
			left[x.from] = true
		}
	}
	return w.exec(ctx, updateDeadLetterGroup, int64(r.Version), r.Sequence)
}

// regroupRun puts a run into its group.
func (w *writing) regroupRun(ctx context.Context, sequence int64, x *groupedRun) error {
	g, err := w.countDeath(ctx, &x.death)
	if err != nil {
		return err
	}
	if err := w.exec(ctx, updateRunGroup, x.fingerprint.GroupID, sequence, int64(x.run)); err != nil {
		return err
	}
	if x.from == "" {
		return nil
	}
	if g.created {
		if err := w.exec(ctx, inheritGroup, x.from, g.sequence, x.from); err != nil {
			return err
		}
	}
	if err := w.exec(ctx, uncountHour, hourOf(x.dead), x.from); err != nil {
		return err
	}
	return w.exec(ctx, uncountDeath, x.from)
}

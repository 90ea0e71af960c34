package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	groupColumns = `g.sequence, g.id, g.state, g.version, g.type, g.cause, g.code, g.domain, g.reason, g.message, g.custom,
	g.fingerprint_version, g.count, g.dead_letters, g.open, g.first_seen, g.last_seen, g.state_time, g.note, g.mute_until`

	selectGroup = `SELECT ` + groupColumns + ` FROM groups g WHERE g.id = ?`

	selectHours = `SELECT hour, count FROM group_hours WHERE failure_group = ? AND hour >= ? AND count > 0 ORDER BY hour`

	selectSamples = `SELECT id, trace_id FROM dead_letters WHERE group_id = ? AND state <> ? ORDER BY sequence DESC LIMIT ?`

	selectVersions = `SELECT worker_version, count(*) AS n FROM dead_letters WHERE group_id = ?
GROUP BY worker_version ORDER BY n DESC, worker_version LIMIT ?`

	countGroups = `SELECT state, count(*) FROM groups GROUP BY state`

	deleteHours = `DELETE FROM group_hours WHERE (failure_group, hour) IN (SELECT failure_group, hour FROM group_hours WHERE hour < ? LIMIT ?)`
)

// groupFields are what filters compare, of the group g.
var groupFields = &sqldb.Columns{Fields: map[filter.Field]sqldb.Column{
	store.FieldState: {SQL: "g.state"}, store.FieldType: {SQL: "g.type"}, store.FieldCause: {SQL: "g.cause"}, store.FieldCode: {SQL: "g.code"},
	store.FieldReason: {SQL: "g.reason"}, store.FieldDomain: {SQL: "g.domain"}, store.FieldMessage: {SQL: "g.message"},
	store.FieldNote: {SQL: "g.note"}, store.FieldCount: {SQL: "g.count"}, store.FieldOpenCount: {SQL: "g.open"},
	store.FieldFirstSeenTime: {SQL: "g.first_seen"}, store.FieldLastSeenTime: {SQL: "g.last_seen"},
}}

// groupOrders are the columns of the orders.
var groupOrders = map[store.GroupOrder]string{
	store.ByLastSeen: "g.last_seen", store.ByFirstSeen: "g.first_seen", store.ByCount: "g.count", store.ByOpen: "g.open",
}

// Groups implements [store.Groups].
func (s *Store) Groups(ctx context.Context, q store.GroupQuery) (store.GroupPage, error) {
	var page store.GroupPage
	limit := bounded(q.Limit)
	if limit == 0 {
		return page, nil
	}
	query, args := groupsQuery(q, limit+1)
	err := s.read(ctx, "list failure groups", func(tx *sql.Tx) (err error) {
		page.Groups, err = collect(ctx, tx, scanGroup, query, args...)
		return err
	})
	if page.More = len(page.Groups) > limit; page.More {
		page.Groups = page.Groups[:limit]
	}
	return page, err
}

func groupsQuery(q store.GroupQuery, limit int) (string, []any) {
	order := groupOrders[q.Order]
	c := &sqldb.Condition{}
	if q.After != nil {
		c.And("("+order+", g.sequence) < (?, ?)", q.After.Value, q.After.Sequence)
	}
	c.Filter(q.Filter, groupFields)
	return `SELECT ` + groupColumns + ` FROM groups g WHERE ` + c.SQL() + ` ORDER BY ` + order + ` DESC, g.sequence DESC LIMIT ?`, c.Args(limit)
}

// scanGroup reads groupColumns.
func scanGroup(row scanner) (store.Group, error) {
	var g store.Group
	var version, first, last, changed int64
	var mute sql.Null[int64]
	err := row.Scan(&g.Sequence, &g.ID, &g.State, &version, &g.Type, &g.Cause, &g.Code, &g.Domain, &g.Reason, &g.Message, &g.Custom,
		&g.FingerprintVersion, &g.Count, &g.DeadLetters, &g.Open, &first, &last, &changed, &g.Note, &mute)
	g.Etag, g.MuteUntil = etagOf(version), fromMicros(mute)
	g.FirstSeen, g.LastSeen, g.StateTime = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC(), time.UnixMicro(changed).UTC()
	return g, err
}

// loadGroup reads a group. Errors: ErrNoGroup.
func loadGroup(ctx context.Context, tx *sql.Tx, id string) (store.Group, error) {
	g, err := scanGroup(tx.QueryRowContext(ctx, selectGroup, id))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNoGroup
	}
	return g, err
}

// Group implements [store.Groups].
func (s *Store) Group(ctx context.Context, id string) (store.Group, error) {
	var g store.Group
	err := s.read(ctx, "read failure group "+id, func(tx *sql.Tx) (err error) {
		if g, err = loadGroup(ctx, tx, id); err != nil {
			return err
		}
		return s.fillGroup(ctx, tx, &g)
	})
	return g, err
}

// HasGroup implements [store.Groups].
func (s *Store) HasGroup(ctx context.Context, id string) (bool, error) {
	var n int
	err := s.read(ctx, "look for failure group "+id, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM groups WHERE id = ?`, id).Scan(&n)
	})
	return n > 0, err
}

// fillGroup adds what lists do not show.
func (s *Store) fillGroup(ctx context.Context, tx *sql.Tx, g *store.Group) (err error) {
	first := hourOf(s.clock().Add(-store.GroupHours).UnixMicro())
	g.Hours, err = collect(ctx, tx, func(row scanner) (h store.HourCount, err error) {
		var hour int64
		err = row.Scan(&hour, &h.Count)
		h.Start = time.UnixMicro(hour * time.Hour.Microseconds()).UTC()
		return h, err
	}, selectHours, g.Sequence, first)
	if err != nil {
		return err
	}
	g.Versions, err = collect(ctx, tx, func(row scanner) (v store.VersionCount, err error) {
		err = row.Scan(&v.Version, &v.Count)
		return v, err
	}, selectVersions, g.ID, store.MaxVersions)
	if err != nil {
		return err
	}
	g.Samples, err = collect(ctx, tx, func(row scanner) (x store.GroupSample, err error) {
		var id []byte
		if err := row.Scan(&id, &x.TraceID); err != nil {
			return x, err
		}
		x.DeadLetterID, err = idOf(id)
		return x, err
	}, selectSamples, g.ID, int64(store.StatePurged), store.MaxSamples)
	return err
}

// CountGroups implements [store.Groups].
func (s *Store) CountGroups(ctx context.Context) (map[store.GroupState]int64, error) {
	counts := map[store.GroupState]int64{}
	err := s.read(ctx, "count failure groups", func(tx *sql.Tx) error {
		_, err := collect(ctx, tx, func(row scanner) (struct{}, error) {
			var state store.GroupState
			var n int64
			err := row.Scan(&state, &n)
			counts[state] = n
			return struct{}{}, err
		}, countGroups)
		return err
	})
	return counts, err
}

// ForgetHours implements [store.Groups].
func (s *Store) ForgetHours(ctx context.Context, limit int) (int, error) {
	var n int64
	err := s.write(ctx, "forget hours of failure groups", func(ctx context.Context, w *writing) error {
		result, err := w.execute(ctx, deleteHours, w.firstHour(), max(limit, 0))
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return int(n), err
}

const updateGroup = `UPDATE groups SET state = ?, note = ?, mute_until = ?, state_time = ?, version = version + 1 WHERE sequence = ?`

// UpdateGroup implements [store.Groups].
func (s *Store) UpdateGroup(ctx context.Context, u store.GroupUpdate) (store.Group, error) {
	var g store.Group
	err := s.write(ctx, "update failure group "+u.ID, func(ctx context.Context, w *writing) (err error) {
		if g, err = loadGroup(ctx, w.tx, u.ID); err != nil {
			return err
		}
		if u.Etag != "" && u.Etag != g.Etag {
			return fmt.Errorf("%w: its etag is %s", store.ErrEtag, g.Etag)
		}
		changes := u.Apply(&g)
		if len(changes) == 0 {
			return nil
		}
		changed := g.StateTime.UnixMicro()
		if changes[0].Field == string(store.FieldState) {
			changed = w.now
		}
		if err := w.exec(ctx, updateGroup, int64(g.State), g.Note, micros(g.MuteUntil), changed, g.Sequence); err != nil {
			return err
		}
		if err := w.record(ctx, u.By, store.ResourceGroup+g.ID, changes...); err != nil {
			return err
		}
		g, err = loadGroup(ctx, w.tx, u.ID)
		return err
	})
	return g, err
}

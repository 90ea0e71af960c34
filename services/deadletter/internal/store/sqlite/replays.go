package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	replayColumns = `r.sequence, r.id, r.state, r.paused_from, r.state_reason, r.version, r.digest, r.missing, r.plan,
	r.method, r.actor, r.reason, r.call, r.total, r.handled, r.in_flight, r.succeeded, r.failed_again, r.cancelled, r.skipped, r.unknown,
	r.taken_back, r.create_time, r.due_time, r.start_time, r.update_time, r.end_time`

	selectReplays      = `SELECT ` + replayColumns + ` FROM replays r WHERE `
	selectReplay       = selectReplays + `r.id = ?`
	selectReplayBySeq  = selectReplays + `r.sequence = ?`
	selectRequest      = `SELECT r.id, r.request_hash FROM replays r WHERE r.request_id = ?`
	selectReplayMember = `SELECT m.members FROM replay_members m JOIN replays r ON r.sequence = m.replay WHERE r.id = ?`

	// What was begun so long ago that its outcome is overdue.
	countOverdue = `SELECT count(*) FROM replay_items WHERE replay = ? AND state = 2 AND begin_time <= ?`

	insertReplay = `INSERT INTO replays (id, request_id, request_hash, state, paused_from, state_reason, version, digest, missing, plan,
	method, actor, reason, call, total, handled, in_flight, succeeded, failed_again, cancelled, skipped, unknown, taken_back,
	create_time, due_time, update_time)
VALUES (?, nullif(?, ''), ?, ?, 0, '', 1, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0, ?, ?, ?)`

	insertReplayMembers = `INSERT INTO replay_members (replay, selector, members) VALUES (?, ?, ?)`
	selectSelector      = `SELECT selector FROM replay_members WHERE replay = ?`
)

// replayFilters are what filters compare, of the replay r.
var replayFilters = &sqldb.Columns{
	Fields: map[filter.Field]sqldb.Column{
		store.FieldState: {SQL: "r.state"}, store.FieldActor: {SQL: "r.actor"}, store.FieldReason: {SQL: "r.reason"},
		store.FieldCreateTime: {SQL: "r.create_time"}, store.FieldEndTime: {SQL: "r.end_time"},
	},
	Labels: sqldb.Column{SQL: "''", Rows: "(SELECT 1) WHERE FALSE"}, LabelKey: "''",
}

// replayRow is a replay as it is stored: of its Counts, Pending is derived, and InFlight
// has what is overdue too.
type replayRow struct {
	store.Replay

	pausedFrom store.ReplayState
	version    int64
	takenBack  int64
}

func scanReplay(row scanner) (*replayRow, error) {
	r := &replayRow{}
	var id []byte
	var missing sql.Null[string]
	var plan string
	var created, due, updated int64
	var started, ended sql.Null[int64]
	c := &r.Counts
	err := row.Scan(&r.Sequence, &id, &r.State, &r.pausedFrom, &r.StateReason, &r.version, &r.Digest, &missing, &plan,
		&r.By.Method, &r.By.Actor, &r.By.Reason, &r.By.Trace, &c.Total, &r.Handled, &c.InFlight, &c.Succeeded, &c.FailedAgain, &c.Cancelled,
		&c.Skipped, &c.Unknown, &r.takenBack, &created, &due, &started, &updated, &ended)
	if err != nil {
		return nil, err
	}
	r.Etag = etagOf(r.version)
	c.Pending = r.pending()
	r.CreateTime, r.DueTime, r.UpdateTime = time.UnixMicro(created).UTC(), time.UnixMicro(due).UTC(), time.UnixMicro(updated).UTC()
	r.StartTime, r.EndTime = fromMicros(started), fromMicros(ended)
	var errs [3]error
	r.ID, errs[0] = idOf(id)
	r.Missing, errs[1] = decode[[]string](missing)
	errs[2] = json.Unmarshal([]byte(plan), &r.Plan)
	return r, errors.Join(errs[:]...)
}

func (r *replayRow) pending() int64 { return r.Counts.Total - int64(r.Handled) + r.takenBack }

// shown is the replay with what is overdue counted as unknown.
func (r *replayRow) shown(ctx context.Context, tx *sql.Tx, now int64) (store.Replay, error) {
	if err := tx.QueryRowContext(ctx, selectSelector, r.Sequence).Scan(&r.Selector); err != nil {
		return r.Replay, err
	}
	overdue := time.UnixMicro(now).Add(-store.OverdueAfter)
	if r.Counts.InFlight == 0 || r.StartTime.IsZero() || r.StartTime.After(overdue) {
		return r.Replay, nil
	}
	var n int64
	err := tx.QueryRowContext(ctx, countOverdue, r.Sequence, overdue.UnixMicro()).Scan(&n)
	out := r.Replay
	out.Counts.InFlight -= n
	out.Counts.Unknown += n
	return out, err
}

// findReplay reads a replay. Errors: ErrNoReplay.
func findReplay(ctx context.Context, tx *sql.Tx, id string) (*replayRow, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return nil, store.ErrNoReplay
	}
	r, err := scanReplay(tx.QueryRowContext(ctx, selectReplay, u[:]))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNoReplay
	}
	return r, err
}

// CreateReplay implements [store.Replays].
func (s *Store) CreateReplay(ctx context.Context, n store.NewReplay) (store.Replay, error) {
	const what = "create a replay"
	id, err := uuid.NewV7()
	if err != nil {
		return store.Replay{}, fmt.Errorf("%s: %w", what, err)
	}
	var out store.Replay
	err = s.write(ctx, what, func(ctx context.Context, w *writing) error {
		made, err := requested(ctx, w.tx, n.RequestID, n.RequestHash)
		if err == nil {
			out, err = made.shown(ctx, w.tx, w.now)
			return err
		}
		if !errors.Is(err, store.ErrNoReplay) {
			return err
		}
		if err := w.insertReplay(ctx, id, &n); err != nil {
			return err
		}
		r, err := findReplay(ctx, w.tx, id.String())
		if err != nil {
			return err
		}
		if out, err = r.shown(ctx, w.tx, w.now); err != nil {
			return err
		}
		return w.record(ctx, n.By, store.ResourceReplay+id.String(), store.AuditChange{Field: "state", After: r.State.String()})
	})
	return out, err
}

func (w *writing) insertReplay(ctx context.Context, id uuid.UUID, n *store.NewReplay) error {
	plan, err := json.Marshal(n.Plan)
	if err != nil {
		return err
	}
	missing, err := encode(n.Selection.Missing, len(n.Selection.Missing))
	if err != nil {
		return err
	}
	state := started(&n.Plan)
	if n.Plan.Delay > 0 {
		state = store.ReplayPending
	}
	result, err := w.execute(ctx, insertReplay, id[:], n.RequestID, n.RequestHash, int64(state), orEmpty(n.Selection.Digest), missing,
		string(plan), n.By.Method, n.By.Actor, n.By.Reason, n.By.Trace, int64(len(n.Selection.Members)),
		w.now, w.now+n.Plan.Delay.Microseconds(), w.now)
	if err != nil {
		return err
	}
	sequence, err := result.LastInsertId()
	if err != nil {
		return err
	}
	return w.exec(ctx, insertReplayMembers, sequence, orEmpty(n.Selector), encodeMembers(n.Selection.Members))
}

// orEmpty is a column that is never NULL.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// started is the state in which a replay begins.
func started(p *store.Plan) store.ReplayState {
	if p.Canary > 0 {
		return store.ReplayCanary
	}
	return store.ReplayRunning
}

// requested is the replay that a request has made.
func requested(ctx context.Context, tx *sql.Tx, requestID string, hash []byte) (*replayRow, error) {
	if requestID == "" {
		return nil, store.ErrNoReplay
	}
	var id, had []byte
	err := tx.QueryRowContext(ctx, selectRequest, requestID).Scan(&id, &had)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, store.ErrNoReplay
	}
	if err != nil {
		return nil, err
	}
	made, err := idOf(id)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(had, hash) {
		return nil, &store.RequestIDError{ReplayID: made}
	}
	return findReplay(ctx, tx, made)
}

// ReplayOf implements [store.Replays].
func (s *Store) ReplayOf(ctx context.Context, requestID string, hash []byte) (store.Replay, error) {
	return s.showReplay(ctx, "read the replay of a request", func(tx *sql.Tx) (*replayRow, error) { return requested(ctx, tx, requestID, hash) })
}

// Replay implements [store.Replays].
func (s *Store) Replay(ctx context.Context, id string) (store.Replay, error) {
	return s.showReplay(ctx, "read replay "+id, func(tx *sql.Tx) (*replayRow, error) { return findReplay(ctx, tx, id) })
}

func (s *Store) showReplay(ctx context.Context, what string, find func(*sql.Tx) (*replayRow, error)) (store.Replay, error) {
	var out store.Replay
	err := s.read(ctx, what, func(tx *sql.Tx) error {
		r, err := find(tx)
		if err != nil {
			return err
		}
		out, err = r.shown(ctx, tx, s.clock().UnixMicro())
		return err
	})
	return out, err
}

// Replays implements [store.Replays].
func (s *Store) Replays(ctx context.Context, q store.ReplayQuery) ([]store.Replay, error) {
	c := &sqldb.Condition{}
	if q.Active {
		c.And("r.end_time IS NULL")
	}
	if q.Before > 0 {
		c.And("r.sequence < ?", q.Before)
	}
	c.Filter(q.Filter, replayFilters)
	var page []store.Replay
	err := s.read(ctx, "list replays", func(tx *sql.Tx) error {
		rows, err := collect(ctx, tx, scanReplay, selectReplays+c.SQL()+` ORDER BY r.sequence DESC LIMIT ?`, c.Args(bounded(q.Limit))...)
		if err != nil {
			return err
		}
		for _, row := range rows {
			r, err := row.shown(ctx, tx, s.clock().UnixMicro())
			if err != nil {
				return err
			}
			page = append(page, r)
		}
		return nil
	})
	return page, err
}

// ReplayMembers implements [store.Replays].
func (s *Store) ReplayMembers(ctx context.Context, id string) ([]store.Member, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return nil, store.ErrNoReplay
	}
	var members []store.Member
	err = s.read(ctx, "read the members of replay "+id, func(tx *sql.Tx) error {
		var b []byte
		err := tx.QueryRowContext(ctx, selectReplayMember, u[:]).Scan(&b)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrNoReplay
		}
		if err != nil {
			return err
		}
		members, err = decodeMembers(b)
		return err
	})
	return members, err
}

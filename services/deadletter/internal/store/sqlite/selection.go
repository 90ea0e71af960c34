package sqlite

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertSelection = `INSERT INTO selections (token, expire_time, members, digest, summary) VALUES (?, ?, ?, ?, ?)`

	deleteSelections = `DELETE FROM selections WHERE expire_time <= ?
	OR sequence <= (SELECT sequence FROM selections ORDER BY sequence DESC LIMIT 1 OFFSET ?)`

	selectSelection = `SELECT expire_time, members, digest, summary FROM selections WHERE token = ? AND expire_time > ?`
)

// summary is what is kept of a selection besides its members.
type summary struct {
	Missing []string           `json:"missing,omitempty"`
	ByType  []store.TypeCount  `json:"by_type,omitempty"`
	ByCause []store.CauseCount `json:"by_cause,omitempty"`
}

// Freeze implements [store.Selections].
func (s *Store) Freeze(ctx context.Context, r store.FreezeRequest) (store.Selection, error) {
	const what = "freeze a selection"
	selected, err := s.Select(ctx, r)
	if err != nil {
		return store.Selection{}, err
	}
	token, err := uuid.NewRandom()
	if err != nil {
		return store.Selection{}, fmt.Errorf("%s: %w", what, err)
	}
	about, err := json.Marshal(summary{selected.Missing, selected.ByType, selected.ByCause})
	if err != nil {
		return store.Selection{}, fmt.Errorf("%s: %w", what, err)
	}
	err = s.write(ctx, what, func(ctx context.Context, w *writing) error {
		expire := time.UnixMicro(w.now).Add(store.SelectionTTL)
		selected.Token, selected.ExpireTime = token.String(), expire.UTC()
		if err := w.exec(ctx, insertSelection, token[:], expire.UnixMicro(), encodeMembers(selected.Members), selected.Digest, string(about)); err != nil {
			return err
		}
		return w.exec(ctx, deleteSelections, w.now, int64(store.MaxSelections))
	})
	return selected, err
}

// Select implements [store.Selections].
func (s *Store) Select(ctx context.Context, r store.FreezeRequest) (store.Selection, error) {
	var selected store.Selection
	err := s.read(ctx, "select dead letters", func(tx *sql.Tx) error {
		g := gathering{types: map[string]int64{}, causes: map[task.Cause]int64{}, hash: sha256.New()}
		var err error
		if len(r.IDs) > 0 {
			err = g.byID(ctx, tx, r.IDs)
		} else {
			err = g.byFilter(ctx, tx, r)
		}
		selected = g.selection()
		return err
	})
	return selected, err
}

// gathering is a selection under way.
type gathering struct {
	out    store.Selection
	types  map[string]int64
	causes map[task.Cause]int64
	hash   interface {
		Write(p []byte) (int, error)
		Sum(b []byte) []byte
	}
}

const selectMember = `SELECT d.sequence, d.id, d.version, d.type, d.cause FROM `

// member is a row of selectMember.
type member struct {
	store.Member
	id       []byte
	taskType string
	cause    task.Cause
}

func scanMember(row scanner) (m member, err error) {
	err = row.Scan(&m.Sequence, &m.id, &m.Version, &m.taskType, &m.cause)
	return m, err
}

func (g *gathering) add(m *member) {
	g.out.Members = append(g.out.Members, m.Member)
	g.types[m.taskType]++
	g.causes[m.cause]++
	_, _ = g.hash.Write(m.id)
}

func (g *gathering) byID(ctx context.Context, tx *sql.Tx, ids []string) error {
	found, err := tx.PrepareContext(ctx, selectMember+"dead_letters d WHERE d.id = ?")
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }()
	var all []member
	for _, id := range ids {
		m, err := byID(ctx, found, id)
		switch {
		case err == nil:
			all = append(all, m)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		case len(g.out.Missing) < store.MaxMissing:
			g.out.Missing = append(g.out.Missing, id)
		}
	}
	slices.SortFunc(all, func(a, b member) int { return cmp.Compare(a.Sequence, b.Sequence) })
	all = slices.CompactFunc(all, func(a, b member) bool { return a.Sequence == b.Sequence })
	for i := range all {
		g.add(&all[i])
	}
	return nil
}

func byID(ctx context.Context, found *sql.Stmt, id string) (member, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return member{}, sql.ErrNoRows
	}
	return scanMember(found.QueryRowContext(ctx, u[:]))
}

func (g *gathering) byFilter(ctx context.Context, tx *sql.Tx, r store.FreezeRequest) error {
	c := &sqldb.Condition{}
	if len(r.States) > 0 {
		states := make([]any, len(r.States))
		for i, state := range r.States {
			states[i] = int64(state)
		}
		c.And("d.state IN (?"+strings.Repeat(", ?", len(states)-1)+")", states...)
	}
	c.Filter(r.Filter, columns)
	limit := -1 // none
	if r.Limit > 0 {
		limit = r.Limit
	}
	rows, err := tx.QueryContext(ctx, selectMember+lettersOf(r.Filter)+" WHERE "+c.SQL()+" ORDER BY d.sequence LIMIT ?", c.Args(limit)...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		m, err := scanMember(rows)
		if err != nil {
			return err
		}
		g.add(&m)
	}
	return rows.Err()
}

func (g *gathering) selection() store.Selection {
	g.out.Digest = g.hash.Sum(nil)
	for taskType, n := range g.types {
		g.out.ByType = append(g.out.ByType, store.TypeCount{Type: taskType, Count: n})
	}
	for cause, n := range g.causes {
		g.out.ByCause = append(g.out.ByCause, store.CauseCount{Cause: cause, Count: n})
	}
	slices.SortFunc(g.out.ByType, func(a, b store.TypeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Type, b.Type))
	})
	slices.SortFunc(g.out.ByCause, func(a, b store.CauseCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause))
	})
	return g.out
}

// Selection implements [store.Selections].
func (s *Store) Selection(ctx context.Context, token string) (store.Selection, error) {
	u, err := uuid.Parse(token)
	if err != nil {
		return store.Selection{}, store.ErrNoSelection
	}
	var selected store.Selection
	err = s.read(ctx, "read a selection", func(tx *sql.Tx) error {
		var expire int64
		var members []byte
		var about string
		err := tx.QueryRowContext(ctx, selectSelection, u[:], s.clock().UnixMicro()).Scan(&expire, &members, &selected.Digest, &about)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrNoSelection
		}
		if err != nil {
			return err
		}
		var rest summary
		if err := json.Unmarshal([]byte(about), &rest); err != nil {
			return fmt.Errorf("decode a selection: %w", err)
		}
		selected.Token, selected.ExpireTime = u.String(), time.UnixMicro(expire).UTC()
		selected.Missing, selected.ByType, selected.ByCause = rest.Missing, rest.ByType, rest.ByCause
		selected.Members, err = decodeMembers(members)
		return err
	})
	return selected, err
}

// Selected implements [store.Selections].
func (s *Store) Selected(ctx context.Context, sequences []int64, full bool) ([]store.DeadLetter, error) {
	var found []store.DeadLetter
	err := s.read(ctx, "read selected dead letters", func(tx *sql.Tx) error {
		size := 0
		for _, sequence := range sequences[:min(len(sequences), store.MaxPage)] {
			d, err := scanDeadLetter(tx.QueryRowContext(ctx, selectBySequence, sequence))
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			if full {
				n, err := fill(ctx, tx, &d)
				if err != nil {
					return err
				}
				if size += n; len(found) > 0 && size > store.MaxPageBytes {
					return nil
				}
			}
			found = append(found, d)
		}
		return nil
	})
	return found, err
}

// encodeMembers is the column of members.
func encodeMembers(members []store.Member) []byte {
	b := make([]byte, 0, 4*len(members))
	last := int64(0)
	for _, m := range members {
		b = binary.AppendUvarint(b, uint64(m.Sequence-last))
		b = binary.AppendUvarint(b, uint64(m.Version))
		last = m.Sequence
	}
	return b
}

func decodeMembers(b []byte) ([]store.Member, error) {
	var members []store.Member
	last := int64(0)
	for len(b) > 0 {
		step, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errors.New("decode the members of a selection")
		}
		b = b[n:]
		version, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errors.New("decode the members of a selection")
		}
		b = b[n:]
		last += int64(step)
		members = append(members, store.Member{Sequence: last, Version: int64(version)})
	}
	return members, nil
}

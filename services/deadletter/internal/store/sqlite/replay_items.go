package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectItems = `SELECT position, id, state, verdict, message, run, revision, begin_time, end_time FROM replay_items
WHERE replay = ? AND position >= ?`
	selectID = `SELECT id FROM dead_letters WHERE sequence = ?`
)

// ReplayItems implements [store.Replays].
func (s *Store) ReplayItems(ctx context.Context, q store.ItemQuery) (store.ItemPage, error) {
	var page store.ItemPage
	limit := bounded(q.Limit)
	err := s.read(ctx, "list the items of replay "+q.ReplayID, func(tx *sql.Tx) error {
		r, err := findReplay(ctx, tx, q.ReplayID)
		if err != nil || limit == 0 {
			return err
		}
		overdue := s.clock().Add(-store.OverdueAfter)
		page.Items, err = handledItems(ctx, tx, r, &q, overdue, limit+1)
		if err != nil {
			return err
		}
		if len(page.Items) <= limit && wants(q.States, store.ItemPending) {
			rest, err := pendingItems(ctx, tx, r, max(q.From, r.Handled), limit+1-len(page.Items))
			if err != nil {
				return err
			}
			page.Items = append(page.Items, rest...)
		}
		if len(page.Items) > limit {
			page.Next = page.Items[limit].Position
			page.Items = page.Items[:limit]
		}
		return nil
	})
	return page, err
}

func wants(states []store.ItemState, s store.ItemState) bool {
	return len(states) == 0 || slices.Contains(states, s)
}

// handledItems are those that were begun, skipped or taken back.
func handledItems(ctx context.Context, tx *sql.Tx, r *replayRow, q *store.ItemQuery, overdue time.Time, limit int) ([]store.ReplayItem, error) {
	query, args := selectItems, []any{r.Sequence, int64(q.From)}
	if terms, more := itemStates(q.States, overdue); terms != "" {
		query, args = query+" AND "+terms, append(args, more...)
	}
	items, err := collect(ctx, tx, scanItem, query+" ORDER BY position LIMIT ?", append(args, limit)...)
	for i := range items {
		if items[i].State == store.ItemInFlight && !items[i].BeginTime.After(overdue) {
			items[i].State = store.ItemUnknown
		}
	}
	return items, err
}

// itemStates selects items by their states as they are shown. The state >= 4 lets the
// index of those be used.
func itemStates(states []store.ItemState, overdue time.Time) (string, []any) {
	if len(states) == 0 {
		return "", nil
	}
	var terms []string
	var args []any
	for _, s := range states {
		switch s {
		case store.ItemInFlight:
			terms, args = append(terms, "(state = 2 AND begin_time > ?)"), append(args, overdue.UnixMicro())
		case store.ItemUnknown:
			terms, args = append(terms, "state = 7", "(state = 2 AND begin_time <= ?)"), append(args, overdue.UnixMicro())
		default:
			terms, args = append(terms, "state = ?"), append(args, int64(s))
		}
	}
	all := "(" + strings.Join(terms, " OR ") + ")"
	if !slices.ContainsFunc(states, func(s store.ItemState) bool { return s < store.ItemFailedAgain || s == store.ItemUnknown }) {
		all += " AND state >= 4"
	}
	return all, args
}

func scanItem(row scanner) (store.ReplayItem, error) {
	var i store.ReplayItem
	var id []byte
	var begun, ended sql.Null[int64]
	err := row.Scan(&i.Position, &id, &i.State, &i.Verdict, &i.Message, &i.Run, &i.Revision, &begun, &ended)
	if err != nil {
		return i, err
	}
	i.BeginTime, i.EndTime = fromMicros(begun), fromMicros(ended)
	if id != nil {
		i.DeadLetterID, err = idOf(id)
	}
	return i, err
}

// pendingItems are those that were never begun, from a position on.
func pendingItems(ctx context.Context, tx *sql.Tx, r *replayRow, from, limit int) ([]store.ReplayItem, error) {
	if int64(from) >= r.Counts.Total {
		return nil, nil
	}
	var b []byte
	if err := tx.QueryRowContext(ctx, `SELECT members FROM replay_members WHERE replay = ?`, r.Sequence).Scan(&b); err != nil {
		return nil, err
	}
	members, err := decodeMembers(b)
	if err != nil {
		return nil, err
	}
	ids, err := tx.PrepareContext(ctx, selectID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ids.Close() }()
	var items []store.ReplayItem
	for i := from; i < min(len(members), from+limit); i++ {
		item := store.ReplayItem{Position: i, State: store.ItemPending}
		var id []byte
		err := ids.QueryRowContext(ctx, members[i].Sequence).Scan(&id)
		if err == nil {
			item.DeadLetterID, err = idOf(id)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

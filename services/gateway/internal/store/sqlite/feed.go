package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	insertFeed = `INSERT INTO feed (time, entries) VALUES (?, ?)`

	// The first row, and the one that comes next.
	selectFeedBounds = `SELECT ifnull((SELECT min(position) FROM feed), 1), ifnull((SELECT max(position) FROM feed), 0) + 1`

	selectFeed = `SELECT position, entries FROM feed WHERE position >= ? ORDER BY position`

	selectOldestFeed = `SELECT position, time FROM feed ORDER BY position LIMIT ?`

	deleteFeed = `DELETE FROM feed WHERE position <= ?`

	selectIdentity = `SELECT id FROM identity`
)

// maxFeedRow bounds the entries of one row, in bytes.
const maxFeedRow = 64 << 10

// feedRows are the entries that a transaction adds to the feed.
type feedRows [][]byte

func (r *feedRows) add(id uuid.UUID, number int64) {
	last := len(*r) - 1
	if last < 0 || len((*r)[last])+len(id)+binary.MaxVarintLen64 > maxFeedRow {
		*r = append(*r, nil)
		last++
	}
	row := &(*r)[last]
	*row = append(*row, id[:]...)
	*row = binary.AppendUvarint(*row, uint64(number))
}

// feedEntry is one event in the feed, and the place after it.
type feedEntry struct {
	id     uuid.UUID
	number int64
	row    int64
	index  int
}

var errFeedEntries = errors.New("decode entries of the feed: they are missing or cut off")

// decodeFeedRow gives the entries of a row.
func decodeFeedRow(position int64, b []byte) ([]feedEntry, error) {
	var entries []feedEntry
	for len(b) > 0 {
		e := feedEntry{row: position, index: len(entries) + 1}
		if len(b) <= len(e.id) {
			return nil, errFeedEntries
		}
		copy(e.id[:], b)
		number, n := binary.Uvarint(b[len(e.id):])
		if n <= 0 || int64(number) < 0 {
			return nil, errFeedEntries
		}
		e.number, b = int64(number), b[len(e.id)+n:]
		entries = append(entries, e)
	}
	if len(entries) > 0 {
		// The place after the last one is that before the next row.
		last := &entries[len(entries)-1]
		last.row, last.index = position+1, 0
	}
	return entries, nil
}

// FeedEnd implements [store.Store].
func (s *Store) FeedEnd(ctx context.Context) (store.FeedPosition, error) {
	if err := s.enter(); err != nil {
		return store.FeedPosition{}, err
	}
	defer s.leave()
	var first, end int64
	err := s.stmts.feedBounds.QueryRowContext(ctx).Scan(&first, &end)
	if err != nil {
		return store.FeedPosition{}, translate(ctx, "end of the feed", err)
	}
	return store.FeedPosition{Store: s.identity, Row: end}, nil
}

// TrimFeed implements [store.Store].
func (s *Store) TrimFeed(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	limit = bounded(limit)
	trimmed := 0
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		type row struct{ position, time int64 }
		rows, err := collect(ctx, tx, func(rows *sql.Rows) (row, error) {
			var r row
			err := rows.Scan(&r.position, &r.time)
			return r, err
		}, selectOldestFeed, limit+1)
		if err != nil {
			return err
		}
		// However the clock was set, what is deleted is the beginning of the feed.
		for trimmed < len(rows)-1 && rows[trimmed].time < before.UnixMicro() {
			trimmed++
		}
		if trimmed == 0 {
			return nil
		}
		_, err = tx.ExecContext(ctx, deleteFeed, rows[trimmed-1].position)
		return err
	})
	if err != nil {
		return 0, translate(ctx, "trim the feed", err)
	}
	return trimmed, nil
}

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const sumCounts = `SELECT ifnull(sum(count), 0) FROM notification_counts WHERE rule = ? AND slot >= ?`

// measuredJSON is how what was measured is stored. Names stay; fields may be added. Times
// are microseconds.
type measuredJSON struct {
	Count     int64 `json:"count,omitempty"`
	Threshold int64 `json:"threshold,omitempty"`
	Age       int64 `json:"age,omitempty"`
	Window    int64 `json:"window,omitempty"`
}

func encodeMeasured(m store.Measured) (any, error) {
	return encode(measuredJSON{m.Count, m.Threshold, m.Age.Microseconds(), m.Window.Microseconds()}, 1)
}

func decodeMeasured(column sql.Null[string]) (m store.Measured, err error) {
	if !column.Valid {
		return m, nil
	}
	var j measuredJSON
	if err := json.Unmarshal([]byte(column.V), &j); err != nil {
		return m, fmt.Errorf("decode what was measured: %w", err)
	}
	return store.Measured{Count: j.Count, Threshold: j.Threshold, Age: durationOf(j.Age), Window: durationOf(j.Window)}, nil
}

// CountArrivals implements [store.Rules].
func (s *Store) CountArrivals(ctx context.Context, ruleID string, since time.Time) (int64, error) {
	var n int64
	err := s.read(ctx, "count what a notification rule has seen", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, sumCounts, ruleID, since.UnixMicro()).Scan(&n)
	})
	return n, err
}

// Measure implements [store.Rules].
func (s *Store) Measure(ctx context.Context, ruleID, etag string, holds bool, measured store.Measured) (store.Noted, error) {
	var noted store.Noted
	err := s.write(ctx, "note what notification rule "+ruleID+" has found", func(ctx context.Context, w *writing) (err error) {
		noted = store.Noted{Settled: true}
		r, err := w.rule(ctx, ruleID, etag)
		switch {
		case errors.Is(err, store.ErrNoRule) || errors.Is(err, store.ErrEtag) || err == nil && r.Disabled:
			return nil
		case err != nil:
			return err
		}
		m, err := w.mark(ctx, ruleID, "")
		if err != nil {
			return err
		}
		noted, err = w.note(ctx, &r, m, holds, measured)
		return err
	})
	if err != nil {
		return store.Noted{}, err
	}
	return noted, nil
}

// note goes on from the mark of a rule whose condition was measured.
func (w *writing) note(ctx context.Context, r *store.Rule, m mark, holds bool, measured store.Measured) (store.Noted, error) {
	was := m.holds
	if !holds {
		if m.holds = notHolding; was == notHolding {
			return store.Noted{Settled: true}, nil
		}
		return store.Noted{Settled: true}, w.keepMark(ctx, r.ID, "", m)
	}
	if was == holdingTold {
		return store.Noted{Settled: true}, nil
	}
	if was == holdingUntold {
		m.held-- // this one is told, or counted again
	}
	told := w.throttle(&m, r)
	if m.holds = holdingUntold; told {
		m.holds = holdingTold
	}
	if m.holds == was {
		return store.Noted{}, nil
	}
	if err := w.keepMark(ctx, r.ID, "", m); err != nil || !told {
		return store.Noted{}, err
	}
	text, err := encodeMeasured(measured)
	if err != nil {
		return store.Noted{}, err
	}
	return store.Noted{Told: true, Settled: true}, w.enqueue(ctx, r, 0, store.Notification{Type: scope(r), HeldBack: m.told}, w.now, text)
}

// scope says which dead letters a rule is about; empty is all.
func scope(r *store.Rule) string {
	types, codes := strings.Join(r.Types, ", "), codeNames(r)
	switch {
	case codes == "":
		return types
	case types == "":
		return "any type with " + codes
	}
	return types + " with " + codes
}

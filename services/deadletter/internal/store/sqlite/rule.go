package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	ruleColumns = `r.id, r.version, r.trigger, r.disabled, r.update_time, r.terms`

	selectRules = `SELECT ` + ruleColumns + ` FROM notification_rules r ORDER BY r.id LIMIT ?`
	selectRule  = `SELECT ` + ruleColumns + ` FROM notification_rules r WHERE r.id = ?`
	countRules  = `SELECT count(*) FROM notification_rules`

	replaceRule = `REPLACE INTO notification_rules (id, version, trigger, disabled, update_time, terms) VALUES (?, ?, ?, ?, ?, ?)`
	deleteRule  = `DELETE FROM notification_rules WHERE id = ?`

	selectRuleVersion = `SELECT last FROM rule_versions WHERE id = 1`
	updateRuleVersion = `UPDATE rule_versions SET last = last + 1 WHERE id = 1 RETURNING last`

	deleteMarks  = `DELETE FROM notification_marks WHERE rule = ?`
	deleteCounts = `DELETE FROM notification_counts WHERE rule = ?`
)

// terms is what is stored of a rule as JSON. Names stay; fields may be added. Times are
// microseconds.
type terms struct {
	Types     []string `json:"types,omitempty"`
	Codes     []int    `json:"codes,omitempty"`
	Threshold int64    `json:"threshold,omitempty"`
	Window    int64    `json:"window,omitempty"`
	Channels  []string `json:"channels,omitempty"`
	Throttle  int64    `json:"throttle,omitempty"`
}

// ruleCache keeps the rules as they were at a version.
type ruleCache struct {
	mu      sync.Mutex
	version int64
	rules   []store.Rule
}

// telling is what a transaction has of the notification rules.
type telling struct {
	cache *ruleCache
	// rules are all of them, once they were asked for; arrivals is what those of
	// TriggerRate are to count, by their places.
	rules    []store.Rule
	loaded   bool
	arrivals map[int]int64
}

// rulesNow are all rules, as the transaction saw them first.
func (w *writing) rulesNow(ctx context.Context) ([]store.Rule, error) {
	t := &w.told
	if t.loaded {
		return t.rules, nil
	}
	var version int64
	if err := w.tx.QueryRowContext(ctx, selectRuleVersion).Scan(&version); err != nil {
		return nil, err
	}
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	if t.cache.version != version {
		rules, err := readRules(ctx, w.tx)
		if err != nil {
			return nil, err
		}
		t.cache.version, t.cache.rules = version, rules
	}
	t.rules, t.loaded = t.cache.rules, true
	return t.rules, nil
}

func readRules(ctx context.Context, tx *sql.Tx) ([]store.Rule, error) {
	return collect(ctx, tx, scanRule, selectRules, store.MaxRules)
}

func scanRule(row scanner) (store.Rule, error) {
	var r store.Rule
	var version, at int64
	var text string
	if err := row.Scan(&r.ID, &version, &r.Trigger, &r.Disabled, &at, &text); err != nil {
		return r, err
	}
	var t terms
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return r, fmt.Errorf("decode the notification rule %s: %w", r.ID, err)
	}
	r.Types, r.Codes, r.Channels, r.Threshold = t.Types, t.Codes, t.Channels, t.Threshold
	r.Window, r.Throttle = durationOf(t.Window), durationOf(t.Throttle)
	r.UpdateTime, r.Etag = time.UnixMicro(at).UTC(), etagOf(version)
	return r, nil
}

func durationOf(micros int64) time.Duration { return time.Duration(micros) * time.Microsecond }

// Rules implements [store.Rules].
func (s *Store) Rules(ctx context.Context) ([]store.Rule, error) {
	var rules []store.Rule
	err := s.read(ctx, "read the notification rules", func(tx *sql.Tx) (err error) {
		rules, err = readRules(ctx, tx)
		return err
	})
	return rules, err
}

// CreateRule implements [store.Rules].
func (s *Store) CreateRule(ctx context.Context, r store.Rule, by store.Call) (store.Rule, error) {
	err := s.write(ctx, "create notification rule "+r.ID, func(ctx context.Context, w *writing) error {
		_, err := w.rule(ctx, r.ID, "")
		switch {
		case err == nil:
			return store.ErrRuleExists
		case !errors.Is(err, store.ErrNoRule):
			return err
		}
		var n int
		if err := w.tx.QueryRowContext(ctx, countRules).Scan(&n); err != nil {
			return err
		}
		if n >= store.MaxRules {
			return store.ErrTooManyRules
		}
		if r, err = w.keepRule(ctx, r); err != nil {
			return err
		}
		return w.record(ctx, by, store.ResourceRule+r.ID, ruleChanges(&store.Rule{}, &r)...)
	})
	return r, err
}

// UpdateRule implements [store.Rules].
func (s *Store) UpdateRule(
	ctx context.Context, id, etag string, change func(store.Rule) (store.Rule, error), by store.Call,
) (store.Rule, error) {
	var r store.Rule
	err := s.write(ctx, "update notification rule "+id, func(ctx context.Context, w *writing) error {
		before, err := w.rule(ctx, id, etag)
		if err != nil {
			return err
		}
		if r, err = change(before); err != nil {
			return err
		}
		r.ID, r.Etag, r.UpdateTime = id, before.Etag, before.UpdateTime
		changes := ruleChanges(&before, &r)
		if len(changes) == 0 {
			return nil
		}
		if r, err = w.keepRule(ctx, r); err != nil {
			return err
		}
		if !sameMeaning(&before, &r) {
			if err := w.forgetRule(ctx, id); err != nil {
				return err
			}
		}
		return w.record(ctx, by, store.ResourceRule+id, changes...)
	})
	return r, err
}

// DeleteRule implements [store.Rules].
func (s *Store) DeleteRule(ctx context.Context, id, etag string, by store.Call) error {
	return s.write(ctx, "delete notification rule "+id, func(ctx context.Context, w *writing) error {
		r, err := w.rule(ctx, id, etag)
		if err != nil {
			return err
		}
		if _, err := w.nextRuleVersion(ctx); err != nil {
			return err
		}
		if err := w.exec(ctx, deleteRule, id); err != nil {
			return err
		}
		if err := w.forgetRule(ctx, id); err != nil {
			return err
		}
		return w.record(ctx, by, store.ResourceRule+id, ruleChanges(&r, &store.Rule{})...)
	})
}

// rule reads a rule that must have the etag, if there is one. Errors: ErrNoRule, ErrEtag.
func (w *writing) rule(ctx context.Context, id, etag string) (store.Rule, error) {
	r, err := scanRule(w.tx.QueryRowContext(ctx, selectRule, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, store.ErrNoRule
	case err == nil && etag != "" && etag != r.Etag:
		return r, fmt.Errorf("%w: its etag is %s", store.ErrEtag, r.Etag)
	}
	return r, err
}

func (w *writing) nextRuleVersion(ctx context.Context) (version int64, err error) {
	err = w.tx.QueryRowContext(ctx, updateRuleVersion).Scan(&version)
	return version, err
}

// keepRule stores a rule as its next version.
func (w *writing) keepRule(ctx context.Context, r store.Rule) (store.Rule, error) {
	version, err := w.nextRuleVersion(ctx)
	if err != nil {
		return r, err
	}
	text, err := json.Marshal(terms{
		Types: r.Types, Codes: r.Codes, Threshold: r.Threshold, Window: r.Window.Microseconds(),
		Channels: r.Channels, Throttle: r.Throttle.Microseconds(),
	})
	if err != nil {
		return r, err
	}
	r.Etag, r.UpdateTime = etagOf(version), time.UnixMicro(w.now).UTC()
	r.Window, r.Throttle = r.Window.Truncate(time.Microsecond), r.Throttle.Truncate(time.Microsecond)
	return r, w.exec(ctx, replaceRule, r.ID, version, int64(r.Trigger), r.Disabled, w.now, string(text))
}

// forgetRule forgets what a rule has told of and counted.
func (w *writing) forgetRule(ctx context.Context, id string) error {
	if err := w.exec(ctx, deleteMarks, id); err != nil {
		return err
	}
	return w.exec(ctx, deleteCounts, id)
}

// sameMeaning says whether what a rule has told of and counted still counts.
func sameMeaning(a, b *store.Rule) bool {
	return a.Trigger == b.Trigger && a.Window == b.Window && a.Threshold == b.Threshold && a.Disabled == b.Disabled &&
		slices.Equal(a.Types, b.Types) && slices.Equal(a.Codes, b.Codes)
}

// openByCode groups by all that the index begins with, and so needs no sorting.
const openByCode = `SELECT iif(is_foreign, '', type), cause, ifnull(code, 0), count(*), min(dead_time)
FROM dead_letters INDEXED BY dead_letters_open WHERE state = 1 GROUP BY is_foreign, type, cause, code`

// OpenByCode implements [store.Rules].
func (s *Store) OpenByCode(ctx context.Context) ([]store.OpenByCode, error) {
	var counts []store.OpenByCode
	err := s.read(ctx, "count open dead letters by code", func(tx *sql.Tx) (err error) {
		counts, err = collect(ctx, tx, func(row scanner) (c store.OpenByCode, err error) {
			var oldest int64
			err = row.Scan(&c.Type, &c.Cause, &c.Code, &c.Count, &oldest)
			c.Oldest = time.UnixMicro(oldest).UTC()
			return c, err
		}, openByCode)
		return err
	})
	return counts, err
}

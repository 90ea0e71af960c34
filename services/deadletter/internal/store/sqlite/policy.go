package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectPolicy = `SELECT task_type, settings, version, update_time FROM policies WHERE task_type = ?`

	selectPolicies = `SELECT task_type, settings, version, update_time FROM policies WHERE task_type > ? ORDER BY task_type LIMIT ?`

	countPolicies = `SELECT count(*) FROM policies`

	upsertPolicy = `INSERT INTO policies (task_type, settings, version, update_time) VALUES (?, ?, 1, ?)
ON CONFLICT (task_type) DO UPDATE SET settings = excluded.settings, version = version + 1, update_time = excluded.update_time`
)

// Policy implements [store.Policies].
func (s *Store) Policy(ctx context.Context, taskType string) (own, all store.Policy, err error) {
	err = s.read(ctx, "read the policy of "+taskType, func(tx *sql.Tx) (err error) {
		own, all, err = policyOf(ctx, tx, taskType)
		return err
	})
	return own, all, err
}

// Policies implements [store.Policies].
func (s *Store) Policies(ctx context.Context, after string, limit int) ([]store.Policy, error) {
	var policies []store.Policy
	err := s.read(ctx, "read policies", func(tx *sql.Tx) (err error) {
		policies, err = collect(ctx, tx, scanPolicy, selectPolicies, after, bounded(limit))
		return err
	})
	return policies, err
}

// UpdatePolicy implements [store.Policies].
func (s *Store) UpdatePolicy(ctx context.Context, r store.PolicyRequest) (own, all store.Policy, err error) {
	err = s.write(ctx, "set the policy of "+r.TaskType, func(ctx context.Context, w *writing) error {
		own, all, err = policyOf(ctx, w.tx, r.TaskType)
		switch {
		case err != nil:
			return err
		case r.Etag != "" && r.Etag != own.Etag:
			return fmt.Errorf("%w: its etag is %s", store.ErrEtag, own.Etag)
		}
		changes := set(own.Set, r)
		if len(changes) == 0 {
			return nil
		}
		if err := w.mayAddPolicy(ctx, &own); err != nil {
			return err
		}
		if err := w.setPolicy(ctx, r, own.Set, changes); err != nil {
			return err
		}
		own, all, err = policyOf(ctx, w.tx, r.TaskType)
		return err
	})
	return own, all, err
}

func (w *writing) mayAddPolicy(ctx context.Context, own *store.Policy) error {
	if !own.UpdateTime.IsZero() {
		return nil
	}
	var n int
	if err := w.tx.QueryRowContext(ctx, countPolicies).Scan(&n); err != nil {
		return err
	}
	if n >= store.MaxPolicies {
		return store.ErrManyPolicies
	}
	return nil
}

func (w *writing) setPolicy(ctx context.Context, r store.PolicyRequest, settings store.Settings, changes []store.AuditChange) error {
	encoded, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	if err := w.exec(ctx, upsertPolicy, r.TaskType, string(encoded), w.now); err != nil {
		return err
	}
	return w.record(ctx, r.By, store.ResourcePolicy+r.TaskType, changes...)
}

// set takes what a request sets, and says what that changes.
func set(settings store.Settings, r store.PolicyRequest) []store.AuditChange {
	var changes []store.AuditChange
	for _, f := range slices.Compact(slices.Sorted(slices.Values(r.Fields))) {
		before := showSetting(settings, f)
		if v, ok := r.Set[f]; ok {
			settings[f] = v
		} else {
			delete(settings, f)
		}
		if after := showSetting(settings, f); after != before {
			changes = append(changes, store.AuditChange{Field: string(f), Before: before, After: after})
		}
	}
	return changes
}

// showSetting is a value for people; empty if it is not set.
func showSetting(settings store.Settings, f store.PolicyField) string {
	v, ok := settings[f]
	switch {
	case !ok:
		return ""
	case slices.Contains(store.PolicyAges, f):
		return settings.Age(f).String()
	case f == store.PolicyHold:
		return strconv.FormatBool(v != 0)
	}
	return strconv.FormatInt(v, 10)
}

func policyOf(ctx context.Context, tx *sql.Tx, taskType string) (own, all store.Policy, err error) {
	if own, err = onePolicy(ctx, tx, taskType); err != nil {
		return own, all, err
	}
	if taskType == store.AllTypes {
		all = own
		all.Set = maps.Clone(own.Set)
		return own, all, nil
	}
	all, err = onePolicy(ctx, tx, store.AllTypes)
	return own, all, err
}

func onePolicy(ctx context.Context, tx *sql.Tx, taskType string) (store.Policy, error) {
	p, err := scanPolicy(tx.QueryRowContext(ctx, selectPolicy, taskType))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Policy{TaskType: taskType, Set: store.Settings{}, Etag: etagOf(0)}, nil
	}
	return p, err
}

func scanPolicy(row scanner) (store.Policy, error) {
	p := store.Policy{Set: store.Settings{}}
	var settings string
	var version, updated int64
	if err := row.Scan(&p.TaskType, &settings, &version, &updated); err != nil {
		return p, err
	}
	p.Etag, p.UpdateTime = etagOf(version), time.UnixMicro(updated).UTC()
	if err := json.Unmarshal([]byte(settings), &p.Set); err != nil {
		return p, fmt.Errorf("decode the policy of %s: %w", p.TaskType, err)
	}
	return p, nil
}

// rulebook knows what holds for task types, as it was when a transaction first looked.
type rulebook struct {
	tx    *sql.Tx
	types map[string]store.Settings
}

func newRulebook(tx *sql.Tx) *rulebook { return &rulebook{tx: tx, types: map[string]store.Settings{}} }

// of is what holds for a type.
func (b *rulebook) of(ctx context.Context, taskType string) (store.Settings, error) {
	if holds, ok := b.types[taskType]; ok {
		return holds, nil
	}
	own, all, err := policyOf(ctx, b.tx, taskType)
	if err != nil {
		return nil, err
	}
	holds := store.Effective(own.Set, all.Set)
	b.types[taskType] = holds
	return holds, nil
}

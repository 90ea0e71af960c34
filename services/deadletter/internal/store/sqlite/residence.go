package sqlite

import (
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// The types of a state, on hold or not, found by jumping from one to the next.
	selectWaitingTypes = `WITH RECURSIVE types (type) AS (
	SELECT (SELECT type FROM dead_letters INDEXED BY dead_letters_kept WHERE state = ?1 AND held = ?2 ORDER BY type LIMIT 1)
	UNION ALL
	SELECT (SELECT d.type FROM dead_letters d INDEXED BY dead_letters_kept
		WHERE d.state = ?1 AND d.held = ?2 AND d.type > types.type ORDER BY d.type LIMIT 1)
	FROM types WHERE types.type IS NOT NULL
) SELECT type FROM types WHERE type IS NOT NULL`

	selectObjectiveTypes = `SELECT task_type FROM policies
WHERE task_type <> '*' AND (json_extract(settings, '$.warn_age') > 0 OR json_extract(settings, '$.breach_age') > 0)`

	countWaiting = `SELECT count(*) FROM dead_letters INDEXED BY dead_letters_kept
WHERE state = ? AND held = ? AND type = ? AND update_time < ?`
)

// CountResidence implements [store.Retention].
func (s *Store) CountResidence(ctx context.Context) ([]store.ResidenceCount, error) {
	var counts []store.ResidenceCount
	now := s.clock().UnixMicro()
	err := s.read(ctx, "count what has waited for long", func(tx *sql.Tx) error {
		warn, breach := map[string]int64{}, map[string]int64{}
		rules := newRulebook(tx)
		for _, state := range []store.State{store.StateOpen, store.StateQuarantined} {
			for held := range int64(2) {
				c := waiting{tx: tx, rules: rules, now: now, state: state, held: held}
				if err := c.count(ctx, warn, breach); err != nil {
					return err
				}
			}
		}
		counts = append(residences(store.ResidenceWarn, warn), residences(store.ResidenceBreach, breach)...)
		return nil
	})
	return counts, err
}

func residences(of store.Residence, byType map[string]int64) []store.ResidenceCount {
	var counts []store.ResidenceCount
	for _, taskType := range slices.Sorted(maps.Keys(byType)) {
		if n := byType[taskType]; n > 0 {
			counts = append(counts, store.ResidenceCount{Type: taskType, Residence: of, Count: n})
		}
	}
	return counts
}

// waiting are dead letters that wait, in a state, on hold or not.
type waiting struct {
	tx    *sql.Tx
	rules *rulebook
	now   int64
	state store.State
	held  int64
}

// count adds how many have waited for longer than is warned of, and than the objective.
func (c *waiting) count(ctx context.Context, warn, breach map[string]int64) error {
	types, err := c.types(ctx)
	if err != nil {
		return err
	}
	for _, taskType := range types {
		holds, err := c.rules.of(ctx, taskType)
		if err != nil {
			return err
		}
		late, err := c.older(ctx, taskType, holds[store.PolicyBreachAge])
		if err != nil {
			return err
		}
		old, err := c.older(ctx, taskType, holds[store.PolicyWarnAge])
		if err != nil {
			return err
		}
		breach[taskType] += late
		warn[taskType] += max(old-late, 0)
	}
	return nil
}

// types are those that may have an objective.
func (c *waiting) types(ctx context.Context) ([]string, error) {
	all, err := c.rules.of(ctx, store.AllTypes)
	if err != nil {
		return nil, err
	}
	scan := func(row scanner) (taskType string, err error) {
		err = row.Scan(&taskType)
		return taskType, err
	}
	if all[store.PolicyWarnAge] == 0 && all[store.PolicyBreachAge] == 0 {
		return collect(ctx, c.tx, scan, selectObjectiveTypes)
	}
	return collect(ctx, c.tx, scan, selectWaitingTypes, int64(c.state), c.held)
}

// older counts those that have waited for longer than an age, none if that is 0.
func (c *waiting) older(ctx context.Context, taskType string, age int64) (n int64, err error) {
	if age == 0 {
		return 0, nil
	}
	err = c.tx.QueryRowContext(ctx, countWaiting, int64(c.state), c.held, taskType, c.now-age).Scan(&n)
	return n, err
}

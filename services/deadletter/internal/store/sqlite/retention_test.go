package sqlite

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// clocked opens a store with a clock that the test sets.
func clocked(t *testing.T) (*Store, *time.Time) {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{Clock: func() time.Time { return now }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, &now
}

// The sweep of retentions, residences and bulk changes must not scan a table, nor sort.
func TestStatementsOfPoliciesUseIndices(t *testing.T) {
	t.Parallel()
	s, _ := clocked(t)
	queries := []string{
		selectHeadBySequence, updateHeld, updatePurged, updateRestored, updateAuditEvent,
		selectPolicy, selectPolicies, selectKeptType, selectExpired, selectKeepingType, selectWaitingTypes, countWaiting,
	}
	for _, query := range slices.Concat(queries, purged, forgotten) {
		for _, step := range plan(t, s, query) {
			if step == "SCAN types" || step == "SCAN CONSTANT ROW" { // rows of the recursion itself
				continue
			}
			require.NotContains(t, step, "SCAN", query)
			require.NotContains(t, step, "TEMP B-TREE", query)
		}
	}
	for _, query := range []string{selectKeptType, selectExpired, selectWaitingTypes, countWaiting} {
		require.Contains(t, strings.Join(plan(t, s, query), "\n"), "COVERING INDEX dead_letters_kept", query)
	}
}

// Whatever table refers to dead letters: a purge leaves nothing in it that tells of a
// message, and nothing is left of it with the tombstone.
func TestPurgeKnowsAllTablesOfDeadLetters(t *testing.T) {
	t.Parallel()
	s, _ := clocked(t)
	rows, err := s.db.Reader.QueryContext(t.Context(), `SELECT m.name, f."from" FROM sqlite_master m, pragma_foreign_key_list(m.name) f
WHERE m.type = 'table' AND f."table" = 'dead_letters'`)
	require.NoError(t, err)
	defer rows.Close()
	all := slices.Concat(purged, forgotten)
	n := 0
	for rows.Next() {
		var table, column string
		require.NoError(t, rows.Scan(&table, &column))
		require.Contains(t, all, "DELETE FROM "+table+" WHERE "+column+" = ?",
			"%s refers to dead letters: delete from it when they are purged, or when their tombstones go", table)
		n++
	}
	require.NoError(t, rows.Err())
	require.GreaterOrEqual(t, n, 6)
}

func TestTombstonesHaveNoTextOfTheMessage(t *testing.T) {
	t.Parallel()
	s, now := clocked(t)
	const secret = "a secret of the customer's"
	a := store.Arrival{
		ID: task.NewID(), Type: "a.v1.A.B", Labels: map[string]string{"secret": secret}, Template: []byte(secret),
		Message: store.Message{Body: []byte(secret), Properties: map[string]string{"p": secret}, Headers: map[string]string{"h": secret}},
		Occurrence: store.Occurrence{
			Run: 1, Cause: task.CausePermanentFailure, Decision: secret, DeadTime: *now,
			Failure: &task.Failure{Code: 9, Message: secret, Stack: secret, Details: []task.Detail{{TypeURL: "t", Value: []byte(secret)}}},
		},
	}
	_, err := s.Put(t.Context(), []store.Arrival{a})
	require.NoError(t, err)
	require.NotZero(t, textsWith(t, s, secret))
	_, _, err = s.UpdatePolicy(t.Context(), store.PolicyRequest{
		TaskType: a.Type, Fields: []store.PolicyField{store.PolicyOpenRetention}, Set: store.Settings{store.PolicyOpenRetention: 1},
	})
	require.NoError(t, err)
	*now = now.Add(time.Second)
	expired, _, err := s.Expire(t.Context(), store.ExpirePlace{})
	require.NoError(t, err)
	require.Len(t, expired, 1)
	require.Zero(t, textsWith(t, s, secret))
}

// textsWith counts the values in all tables that have a text in them.
func textsWith(t *testing.T, s *Store, text string) int {
	t.Helper()
	names := func(query string, args ...any) (all []string) {
		rows, err := s.db.Reader.QueryContext(t.Context(), query, args...)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var name string
			require.NoError(t, rows.Scan(&name))
			all = append(all, name)
		}
		require.NoError(t, rows.Err())
		return all
	}
	found := 0
	for _, table := range names(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`) {
		for _, column := range names(`SELECT name FROM pragma_table_info(?)`, table) {
			var n int
			query := `SELECT count(*) FROM "` + table + `" WHERE instr(CAST("` + column + `" AS TEXT), ?) > 0`
			require.NoError(t, s.db.Reader.QueryRowContext(t.Context(), query, text).Scan(&n))
			found += n
		}
	}
	return found
}

func TestForget(t *testing.T) {
	t.Parallel()
	s, now := clocked(t)
	discard := func() {
		a := store.Arrival{ID: task.NewID(), Type: "a.v1.A.B", Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired}}
		_, err := s.Put(t.Context(), []store.Arrival{a})
		require.NoError(t, err)
		_, err = s.Discard(t.Context(), store.DiscardRequest{ID: a.ID, By: store.Call{Method: "DiscardDeadLetter"}})
		require.NoError(t, err)
	}
	for range store.MaxExpired + 3 {
		discard()
	}
	_, err := s.Freeze(t.Context(), store.FreezeRequest{})
	require.NoError(t, err)
	*now = now.Add(store.AuditRetention - time.Second)
	discard()
	for _, step := range []struct {
		later time.Duration
		want  int
	}{{0, 0}, {time.Second, store.MaxExpired}, {0, 3}, {0, 0}} {
		*now = now.Add(step.later)
		n, err := s.Forget(t.Context())
		require.NoError(t, err)
		require.Equal(t, step.want, n)
	}
	events, err := s.AuditEvents(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 1)
	var selections int
	require.NoError(t, s.read(t.Context(), "count", func(tx *sql.Tx) error {
		return tx.QueryRowContext(t.Context(), `SELECT count(*) FROM selections`).Scan(&selections)
	}))
	require.Zero(t, selections)
}

func TestResidenceAndRetentionByTheClock(t *testing.T) {
	t.Parallel()
	s, now := clocked(t)
	a := store.Arrival{ID: task.NewID(), Type: "a.v1.A.B", Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired}}
	_, err := s.Put(t.Context(), []store.Arrival{a})
	require.NoError(t, err)
	hour := time.Hour.Microseconds()
	set := store.Settings{store.PolicyWarnAge: hour, store.PolicyBreachAge: 2 * hour, store.PolicyOpenRetention: 3 * hour}
	_, _, err = s.UpdatePolicy(t.Context(), store.PolicyRequest{
		TaskType: store.AllTypes, Fields: []store.PolicyField{store.PolicyWarnAge, store.PolicyBreachAge, store.PolicyOpenRetention}, Set: set,
	})
	require.NoError(t, err)
	warn, breach := []store.ResidenceCount{{Type: a.Type, Residence: store.ResidenceWarn, Count: 1}}, []store.ResidenceCount{{Type: a.Type, Residence: store.ResidenceBreach, Count: 1}}
	for _, step := range []struct {
		later   time.Duration
		counts  []store.ResidenceCount
		expired int
	}{{time.Hour, nil, 0}, {1000, warn, 0}, {time.Hour, breach, 0}, {time.Hour - 2000, breach, 0}, {1000, nil, 1}} {
		*now = now.Add(step.later)
		expired, next, err := s.Expire(t.Context(), store.ExpirePlace{})
		require.NoError(t, err)
		require.Len(t, expired, step.expired, step)
		require.Zero(t, next)
		counts, err := s.CountResidence(t.Context())
		require.NoError(t, err)
		require.Equal(t, step.counts, counts, step)
	}
}

// A round looks at many types in several steps, and at each of them.
func TestExpireOfManyTypes(t *testing.T) {
	t.Parallel()
	s, now := clocked(t)
	const types = 2*maxTypes + 7
	arrivals := make([]store.Arrival, types)
	for i := range arrivals {
		arrivals[i] = store.Arrival{
			ID: task.NewID(), Foreign: true, Type: strings.Repeat("x", i), Occurrence: store.Occurrence{Cause: task.CauseUndecodable},
		}
	}
	_, err := s.Put(t.Context(), arrivals)
	require.NoError(t, err)
	_, _, err = s.UpdatePolicy(t.Context(), store.PolicyRequest{
		TaskType: store.AllTypes, Fields: []store.PolicyField{store.PolicyOpenRetention}, Set: store.Settings{store.PolicyOpenRetention: 1},
	})
	require.NoError(t, err)
	*now = now.Add(time.Second)
	steps, n := 0, 0
	for place := (store.ExpirePlace{}); steps == 0 || place != (store.ExpirePlace{}); steps++ {
		var expired []store.Expired
		expired, place, err = s.Expire(t.Context(), place)
		require.NoError(t, err)
		n += len(expired)
	}
	require.Equal(t, types, n)
	require.GreaterOrEqual(t, steps, 3)
	require.Less(t, steps, 10)
}

package sqlite

import (
	"bytes"
	"cmp"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

func TestPackedKeysSortAsKeys(t *testing.T) {
	t.Parallel()
	// SCHEDULED and RETRYING have another place than their numbers.
	sorted := []task.Phase{
		task.PhaseQueued, task.PhaseStarted, task.PhaseMessage, task.PhaseReleased, task.PhaseLost, task.PhaseUpdated,
		task.PhaseDeadLettered, task.PhaseCancelled, task.PhaseSucceeded, task.PhaseProgress,
	}
	key := rapid.Custom(func(t *rapid.T) task.Key {
		k := task.Key{
			Run:      rapid.IntRange(1, math.MaxInt32).Draw(t, "run"),
			Attempt:  rapid.IntRange(1, math.MaxInt32).Draw(t, "attempt"),
			Delivery: rapid.Int64Min(0).Draw(t, "delivery"),
			Phase:    rapid.SampledFrom(sorted).Draw(t, "phase"),
			Sequence: rapid.Int64Min(0).Draw(t, "sequence"),
		}
		copy(k.Copy[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "copy"))
		return k
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		got, err := unpackKey(packKey(a))
		require.NoError(t, err)
		require.Equal(t, a, got)
		require.Equal(t, cmp.Compare(a.Compare(b), 0), cmp.Compare(bytes.Compare(packKey(a), packKey(b)), 0))
	})
	_, err := unpackKey([]byte("short"))
	require.Error(t, err)
}

// The statements that run all the time must not scan a table, nor sort.
func TestStatementsUseIndices(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	for _, query := range []string{
		selectTask, selectTasks, selectTombstones, selectExists, selectBody, selectEvents, selectEventsWithBodies, selectHistory,
		selectNextType, selectOldestEnded, selectUnfinished, deleteTask, deleteEvents, deleteBodies, deleteTombstones,
		selectFeed, deleteFeed, selectKnownKey, selectNewestID, updateTask, updateState, updateTrace,
		selectClaims, upsertClaim, deleteClaims, loosenClaims, deleteLooseClaims,
		updateRareTask, updateScheduled, deleteUnleased, deleteScheduled, selectMessage,
		upsertLease,
		selectSchedule, selectSchedules, selectDueSchedules, selectNextSchedule, updateNext, selectFirings, deleteFirings,
	} {
		for _, step := range plan(t, s, query) {
			// What selects from nothing scans as much.
			require.NotContains(t, strings.TrimPrefix(step, "SCAN CONSTANT ROW"), "SCAN", query)
			require.NotContains(t, step, "TEMP B-TREE", query)
		}
	}
}

// A purge that was cut short between two of its transactions leaves nothing
// behind once the store is used again.
func TestPurgeGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	url := "sqlite:" + filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), url, Options{})
	require.NoError(t, err)
	event := task.Event{
		TaskID: task.NewID(), Type: "a.v1.A.B", Time: time.UnixMicro(1), Message: []byte("message"),
		Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseMessage, Copy: task.NewCopy()},
	}
	var events []task.Event
	for range 20 {
		event.Key.Sequence++
		events = append(events, event)
	}
	event.Key.Phase, event.Key.Sequence = task.PhaseSucceeded, 0
	_, err = s.Apply(t.Context(), append(events, event))
	require.NoError(t, err)
	total := 0
	const limit = 5
	for n := limit; n == limit; total += n {
		n, err = s.PurgeEnded(t.Context(), store.Ended{Before: time.Now()}, limit)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		s, err = Open(t.Context(), url, Options{})
		require.NoError(t, err)
	}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Equal(t, 1+21+21, total)
	var rows, unfinished int
	require.NoError(t, s.db.Reader.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM tasks)
	+ (SELECT count(*) FROM task_events) + (SELECT count(*) FROM task_bodies), sum(unfinished) FROM tombstones`).Scan(&rows, &unfinished))
	require.Zero(t, rows)
	require.Zero(t, unfinished)
}

// plan returns the steps of a query.
func plan(t *testing.T, s *Store, query string, args ...any) []string {
	t.Helper()
	args = append(args, make([]any, strings.Count(query, "?"))...)
	rows, err := s.db.Writer.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	require.NoError(t, err, query)
	defer func() { require.NoError(t, rows.Close()) }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return steps
}

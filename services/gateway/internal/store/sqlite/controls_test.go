package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// queuedTask has the store know a task that is QUEUED.
func queuedTask(t *testing.T, s *Store) string {
	t.Helper()
	id := task.NewID()
	_, err := s.Apply(t.Context(), []task.Event{endOf(id, task.PhaseQueued)})
	require.NoError(t, err)
	return id
}

func endOf(id string, phase task.Phase) task.Event {
	key := task.Key{Run: 1, Attempt: 1, Phase: phase, Copy: task.Copy{1}}
	if phase.State().Terminal() {
		key.Delivery = 1
	}
	return task.Event{TaskID: id, Type: "a.v1.A.B", Time: time.UnixMicro(1), Key: key}
}

func TestStatementsOfControlUseIndices(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	for _, query := range []string{
		selectCancellation, selectCancellations, selectUnseen, markSeen, deleteCancellations, selectCancelSpan,
		selectControl, countRetrying, selectKey, upsertKey, renewKey, settleKey, giveBackKey, deleteOwnKey, deleteOldKeys,
	} {
		for _, step := range plan(t, s, query) {
			if step == "SCAN CONSTANT ROW" || query == countRetrying && step == "SCAN (subquery-1)" {
				continue
			}
			if query == selectUnseen && step == "SCAN cancellations USING INDEX cancellations_unseen" {
				continue // of which it reads one entry, if there is one
			}
			require.NotContains(t, step, "SCAN", query)
			require.NotContains(t, step, "TEMP B-TREE", query)
		}
	}
}

func TestNoMoreCancellationsThanMayBe(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	s.maxCancellations = 2
	cancel := func(ids ...string) error {
		var requests []store.CancelRequest
		for _, id := range ids {
			requests = append(requests, store.CancelRequest{TaskID: id})
		}
		_, err := s.Cancel(t.Context(), requests)
		return err
	}
	a, b, c := queuedTask(t, s), queuedTask(t, s), queuedTask(t, s)
	require.NoError(t, cancel(a))
	require.ErrorIs(t, cancel(b, c), store.ErrTooMany)
	kept, err := s.Cancellations(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, kept, 1, "none of both")
	require.NoError(t, cancel(a, b))
	require.ErrorIs(t, cancel(c), store.ErrTooMany)
	require.NoError(t, cancel(a, b), "what is there stays so")

	// There is room again once one is forgotten, though the positions go on.
	_, err = s.Apply(t.Context(), []task.Event{endOf(b, task.PhaseCancelled)})
	require.NoError(t, err)
	_, err = s.ForgetCancellations(t.Context(), time.Now().Add(time.Hour), 1)
	require.NoError(t, err)
	require.NoError(t, cancel(c))
	require.ErrorIs(t, cancel(queuedTask(t, s)), store.ErrTooMany)
}

func TestQueuedLooksNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	fill(t, s, 100_000) // more than SQLite looks through in the time below
	queuedTask(t, s)
	s.queuedBudget = time.Minute
	_, oldest, known, err := s.Queued(t.Context(), "a.v1.A.B")
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, time.UnixMicro(1).UTC(), oldest)
	for _, budget := range []time.Duration{0, 50 * time.Microsecond} {
		s.queuedBudget = budget
		_, oldest, known, err = s.Queued(t.Context(), "a.v1.A.B")
		require.NoError(t, err)
		require.False(t, known)
		require.Zero(t, oldest)
	}
}

func BenchmarkQueued(b *testing.B) {
	s := openHere(b)
	const tasks = 1_000_000
	fill(b, s, tasks)
	s.queuedBudget = time.Minute
	for b.Loop() {
		_, _, known, err := s.Queued(b.Context(), "a.v1.A.B")
		require.NoError(b, err)
		require.True(b, known)
	}
}

// What keys cost who submits one task at a time, and who submits many at once.
func BenchmarkKeys(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openHere(b)
			claims, refs := make([]store.KeyClaim, n), make([]store.KeyRef, n)
			for b.Loop() {
				now := time.Now()
				for i := range claims {
					key := task.NewID()
					claims[i] = store.KeyClaim{
						Type: "a.v1.A.B", Key: key, TaskID: key, Owner: "a", Until: now.Add(time.Second), WindowEnd: now.Add(time.Hour),
					}
					refs[i] = store.KeyRef{Type: "a.v1.A.B", Key: key, Owner: "a"}
				}
				_, err := s.ClaimKeys(b.Context(), now, claims)
				require.NoError(b, err)
				require.NoError(b, s.SettleKeys(b.Context(), refs, true))
			}
		})
	}
}

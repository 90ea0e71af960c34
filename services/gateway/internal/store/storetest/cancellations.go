package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var cancellationRules = map[string]func(*testing.T, store.Store){
	"Cancellations/positions ascend":                    positionsAscend,
	"Cancellations/are read after a position":           cancellationsAfter,
	"Cancellations/are seen with their messages":        seesMessages,
	"Cancellations/are not seen by other events":        doesNotSee,
	"Cancellations/are seen though the task was purged": seesPurged,
	"Cancellations/seen long ago are forgotten":         forgetsSeen,
	"Cancellations/at once get a position each":         cancelsAtOnce,
}

// forget forgets cancellations that were seen, as late as can be.
func forget(t *testing.T, s store.Store, limit int) []store.Cancellation {
	t.Helper()
	forgotten, err := s.ForgetCancellations(t.Context(), time.Now().Add(time.Hour), limit)
	require.NoError(t, err)
	return forgotten
}

// requireSeen requires that the cancellation of the last task is, or is not, seen.
func requireSeen(t *testing.T, s store.Store, seen bool, why string) {
	t.Helper()
	kept, err := s.Cancellations(t.Context(), 0, 1000)
	require.NoError(t, err)
	require.NotEmpty(t, kept)
	last := kept[len(kept)-1]
	require.Equal(t, seen, !last.Seen.IsZero(), why)
	if seen {
		require.Less(t, time.Since(last.Seen).Abs(), time.Minute)
	}
}

func positionsAscend(t *testing.T, s store.Store) {
	ids := newIDs(t, 3)
	for i, id := range ids {
		apply(t, s, queued(id))
		require.EqualValues(t, i+1, cancelAll(t, s, id)[0].Outstanding.Position)
		requirePosition(t, s, int64(i)+1)
		// Also when all before were forgotten.
		apply(t, s, delivered(id, task.PhaseCancelled))
		forget(t, s, 10)
		requireCancellations(t, s)
		requirePosition(t, s, int64(i)+1)
	}
}

func cancellationsAfter(t *testing.T, s store.Store) {
	ids := newIDs(t, 5)
	var want []store.Cancellation
	for i, id := range ids {
		apply(t, s, queued(id))
		cancelAll(t, s, id)
		want = append(want, outstanding(id, 1, int64(i)+1))
	}
	for _, c := range []struct {
		after int64
		limit int
		want  []store.Cancellation
	}{{0, 2, want[:2]}, {2, 2, want[2:4]}, {4, 2, want[4:]}, {5, 2, nil}, {-1, 9, want}, {0, 0, nil}, {0, -1, nil}} {
		got, err := s.Cancellations(t.Context(), c.after, c.limit)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}

func seesMessages(t *testing.T, s store.Store) {
	dead := event("", task.Key{Run: 1, Attempt: 1, Phase: task.PhaseDeadLettered})
	for _, key := range []task.Key{
		delivered("", task.PhaseSucceeded).Key, delivered("", task.PhaseCancelled).Key, delivered("", task.PhaseDeadLettered).Key,
		dead.Key, // of a message that was never delivered
	} {
		id := task.NewID()
		apply(t, s, queued(id))
		cancelAll(t, s, id)
		requireSeen(t, s, false, "not yet")
		apply(t, s, event(id, key))
		requireSeen(t, s, true, "its message is gone")
	}
	// Also when gateways have taken it for CANCELLED before, and when the event ends
	// nothing any more.
	id := task.NewID()
	apply(t, s, queued(id))
	cancelAll(t, s, id)
	apply(t, s, event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}))
	requireSeen(t, s, false, "nobody has met it")
	apply(t, s, delivered(id, task.PhaseCancelled))
	requireSeen(t, s, true, "a worker has met it")
}

func doesNotSee(t *testing.T, s store.Store) {
	id, other := task.NewID(), task.NewID()
	apply(t, s, queued(id), delivered(id, task.PhaseDeadLettered), inRun(2, queued(id)))
	cancelAll(t, s, id)
	apply(t, s,
		inRun(2, started(id)), inRun(2, numbered(id, task.PhaseMessage, 1)), inRun(2, numbered(id, task.PhaseProgress, 1)),
		inRun(2, delivered(id, task.PhaseRetrying)), inRun(2, delivered(id, task.PhaseReleased)), inRun(2, delivered(id, task.PhaseLost)),
		event(id, task.Key{Run: 2, Attempt: 1, Phase: task.PhaseCancelled}),
		succeeded(id), succeeded(other))
	requireSeen(t, s, false, "only other runs and tasks, or nothing's end")
	require.Empty(t, forget(t, s, 10))
}

func seesPurged(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	cancelAll(t, s, id)
	apply(t, s, event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}))
	purgeAll(t, s)
	requireGone(t, s, id)
	requireCancellations(t, s, outstanding(id, 1, 1))
	require.Empty(t, apply(t, s, delivered(id, task.PhaseCancelled)))
	requireGone(t, s, id)
	requireSeen(t, s, true, "its message is gone")
}

func forgetsSeen(t *testing.T, s store.Store) {
	ids := newIDs(t, 5)
	for _, id := range ids {
		apply(t, s, queued(id))
		cancelAll(t, s, id)
	}
	apply(t, s, delivered(ids[3], task.PhaseCancelled), delivered(ids[1], task.PhaseCancelled), delivered(ids[0], task.PhaseCancelled))
	got, err := s.ForgetCancellations(t.Context(), time.Now().Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Empty(t, got, "not long ago")
	require.Empty(t, forget(t, s, 0))
	require.Empty(t, forget(t, s, -1))
	two := forget(t, s, 2)
	require.Len(t, two, 2)
	require.Less(t, two[0].Position, two[1].Position)
	one := forget(t, s, 2)
	require.Len(t, one, 1)
	seen := slices.Concat(two, one)
	for i := range seen {
		require.False(t, seen[i].Seen.IsZero())
		seen[i].Seen = time.Time{}
	}
	require.ElementsMatch(t, []store.Cancellation{outstanding(ids[0], 1, 1), outstanding(ids[1], 1, 2), outstanding(ids[3], 1, 4)}, seen)
	requireCancellations(t, s, outstanding(ids[2], 1, 3), outstanding(ids[4], 1, 5))
	require.Empty(t, forget(t, s, 10))
}

func cancelsAtOnce(t *testing.T, s store.Store) { cancelAtOnce(t, s) }

// cancelAtOnce cancels tasks at any of the stores, each twice.
func cancelAtOnce(t *testing.T, stores ...store.Store) {
	s := stores[0]
	ids := newIDs(t, 20)
	for _, id := range ids {
		apply(t, s, queued(id))
	}
	var g errgroup.Group
	for i := range 2 {
		for _, id := range ids {
			g.Go(func() error {
				_, err := stores[i%len(stores)].Cancel(t.Context(), []store.CancelRequest{request(id)})
				return err
			})
		}
	}
	require.NoError(t, g.Wait())
	kept, err := s.Cancellations(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, kept, len(ids))
	for i, c := range kept {
		require.EqualValues(t, i+1, c.Position)
	}
	requirePosition(t, s, int64(len(ids)))
}

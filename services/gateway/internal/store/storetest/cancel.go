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

var cancelRules = map[string]func(*testing.T, store.Store){
	"Cancel/of a task that has not ended is outstanding": cancelsUnended,
	"Cancel/of a task that waits for its time":           cancelsScheduled,
	"Cancel/of a leased task is outstanding":             cancelsLeased,
	"Cancel/of a published task is outstanding":          cancelsPublished,
	"Cancel/of a task whose lease ended is outstanding":  cancelsOnceLeased,
	"Cancel/stays, whatever comes of being queued":       cancelledStays,
	"Cancel/of a task that has ended":                    cancelsEnded,
	"Cancel/of a task that is not known":                 cancelsUnknown,
	"Cancel/answers in the order of the requests":        cancelsInOrder,
	"Cancel/asked again changes nothing":                 cancelsAgain,
	"Cancel/concerns the present run":                    cancelsPresentRun,
	"Cancel/of nothing does nothing":                     cancelsNothing,
	"Cancel/takes an id in any spelling":                 cancelsAnySpelling,
	"Cancellations/positions ascend":                     positionsAscend,
	"Cancellations/are read after a position":            cancellationsAfter,
	"Cancellations/are seen with their messages":         seesMessages,
	"Cancellations/are not seen by other events":         doesNotSee,
	"Cancellations/are seen though the task was purged":  seesPurged,
	"Cancellations/seen long ago are forgotten":          forgetsSeen,
	"Cancellations/at once get a position each":          cancelsAtOnce,
}

func request(id string) store.CancelRequest {
	return store.CancelRequest{TaskID: id, Reason: "not needed <&> ü", Time: at(7).Add(999)}
}

// outstanding is what becomes of such a request.
func outstanding(id string, run int, position int64) store.Cancellation {
	return store.Cancellation{TaskID: id, Run: run, Type: taskType, Position: position, Reason: "not needed <&> ü", Time: at(7)}
}

func cancelAll(t *testing.T, s store.Store, ids ...string) []store.CancelAnswer {
	t.Helper()
	var requests []store.CancelRequest
	for _, id := range ids {
		requests = append(requests, request(id))
	}
	answers, err := s.Cancel(t.Context(), requests)
	require.NoError(t, err)
	require.Len(t, answers, len(requests))
	return answers
}

func requireCancellations(t *testing.T, s store.Store, want ...store.Cancellation) {
	t.Helper()
	got, err := s.Cancellations(t.Context(), 0, 1000)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func requirePosition(t *testing.T, s store.Store, want int64) {
	t.Helper()
	got, err := s.CancelPosition(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// waiting keeps a task for later.
func waiting(t *testing.T, s store.Store, id string) {
	t.Helper()
	e := queued(id)
	e.Key.Phase, e.ScheduleTime = task.PhaseScheduled, at(1000)
	_, err := s.Schedule(t.Context(), []store.Scheduled{{Event: e, Message: []byte("message")}})
	require.NoError(t, err)
	require.Equal(t, task.StateScheduled, get(t, s, id).State)
}

// takeDue leases all tasks that wait.
func takeDue(t *testing.T, s store.Store) {
	t.Helper()
	due, _, err := s.TakeDue(t.Context(), time.Now().AddDate(1, 0, 0), time.Hour, 10, nil)
	require.NoError(t, err)
	require.NotEmpty(t, due)
}

func cancelsUnended(t *testing.T, s store.Store) {
	requirePosition(t, s, 0)
	requireCancellations(t, s)
	ids := newIDs(t, 3)
	apply(t, s, queued(ids[0]), queued(ids[1]), started(ids[1]), queued(ids[2]), delivered(ids[2], task.PhaseRetrying))
	var want []store.Cancellation
	for i, a := range cancelAll(t, s, ids...) {
		want = append(want, outstanding(ids[i], 1, int64(i)+1))
		require.Equal(t, store.CancelAnswer{Task: get(t, s, ids[i]), Outstanding: want[i]}, a)
		require.False(t, a.Task.State.Terminal())
	}
	requireCancellations(t, s, want...)
	requirePosition(t, s, 3)
}

func cancelsScheduled(t *testing.T, s store.Store) {
	id := task.NewID()
	begin, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	waiting(t, s, id)
	a := cancelAll(t, s, id)[0]
	require.Equal(t, store.CancelAnswer{Task: get(t, s, id), Changed: true}, a)
	require.Equal(t, task.StateCancelled, a.Task.State)
	require.Equal(t, "not needed <&> ü", a.Task.CancelReason)
	require.Equal(t, at(7), a.Task.EndTime)
	require.Equal(t, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}, a.Task.Decided)
	_, err = s.ScheduledMessage(t.Context(), id)
	require.ErrorIs(t, err, store.ErrNotFound)
	due, next, err := s.TakeDue(t.Context(), at(2000), time.Second, 10, nil)
	require.NoError(t, err)
	require.Empty(t, due)
	require.Zero(t, next)
	requireCancellations(t, s)
	requirePosition(t, s, 0)
	events := all(t, s, id)
	require.Equal(t, []int64{1, 2}, numbers(events))
	require.Equal(t, "not needed <&> ü", events[1].Reason)
	require.Len(t, feedAll(t, s, store.FeedQuery{From: begin}), 2, "its end is in the feed")
	// Asked again it has ended.
	require.Equal(t, []store.CancelAnswer{{Task: get(t, s, id)}}, cancelAll(t, s, id))
}

func cancelsLeased(t *testing.T, s store.Store) {
	id := task.NewID()
	waiting(t, s, id)
	takeDue(t, s)
	a := cancelAll(t, s, id)[0]
	require.Equal(t, store.CancelAnswer{Task: get(t, s, id), Outstanding: outstanding(id, 1, 1)}, a)
	require.Equal(t, task.StateScheduled, a.Task.State, "its message may be on its way")
}

func cancelsOnceLeased(t *testing.T, s store.Store) {
	id := task.NewID()
	waiting(t, s, id)
	due, _, err := s.TakeDue(t.Context(), at(2000), time.Second, 10, nil)
	require.NoError(t, err)
	require.Len(t, due, 1)
	a := cancelAll(t, s, id)[0]
	require.Equal(t, outstanding(id, 1, 1), a.Outstanding)
	require.Equal(t, task.StateScheduled, a.Task.State, "its message may be in its queue")
}

func cancelsPublished(t *testing.T, s store.Store) {
	id := task.NewID()
	waiting(t, s, id)
	takeDue(t, s)
	require.NoError(t, s.Unschedule(t.Context(), []string{id}))
	a := cancelAll(t, s, id)[0]
	require.Equal(t, task.StateScheduled, a.Task.State, "its QUEUED event is on its way")
	require.Equal(t, outstanding(id, 1, 1), a.Outstanding)
	require.False(t, a.Changed)
}

func cancelledStays(t *testing.T, s store.Store) {
	id := task.NewID()
	waiting(t, s, id)
	require.True(t, cancelAll(t, s, id)[0].Changed)
	changes := apply(t, s, queued(id))
	require.Equal(t, []store.Change{{TaskID: id, Version: 3, State: task.StateCancelled}}, changes)
	require.Equal(t, "not needed <&> ü", get(t, s, id).CancelReason)
}

func cancelsEnded(t *testing.T, s store.Store) {
	for _, phase := range []task.Phase{task.PhaseSucceeded, task.PhaseCancelled, task.PhaseDeadLettered} {
		id := task.NewID()
		apply(t, s, queued(id), delivered(id, phase))
		require.Equal(t, []store.CancelAnswer{{Task: get(t, s, id)}}, cancelAll(t, s, id))
	}
	requirePosition(t, s, 0)
	// The cancellation of a run that has ended since is still known.
	id := task.NewID()
	apply(t, s, queued(id))
	cancelAll(t, s, id)
	apply(t, s, event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}))
	require.Equal(t, []store.CancelAnswer{{Task: get(t, s, id), Outstanding: outstanding(id, 1, 1)}}, cancelAll(t, s, id))
}

func cancelsUnknown(t *testing.T, s store.Store) {
	id, purged := task.NewID(), task.NewID()
	apply(t, s, succeeded(purged))
	purgeAll(t, s)
	require.Equal(t, make([]store.CancelAnswer, 3), cancelAll(t, s, id, purged, "x"))
	requireGone(t, s, id)
	requirePosition(t, s, 0)
}

func cancelsInOrder(t *testing.T, s store.Store) {
	ids := newIDs(t, 4)
	apply(t, s, queued(ids[0]), queued(ids[1]), succeeded(ids[1]), queued(ids[3]))
	answers := cancelAll(t, s, ids[3], ids[2], ids[1], ids[0], ids[3])
	var got []string
	for _, a := range answers {
		got = append(got, a.Task.ID)
	}
	require.Equal(t, []string{ids[3], "", ids[1], ids[0], ids[3]}, got)
	requireCancellations(t, s, outstanding(ids[3], 1, 1), outstanding(ids[0], 1, 2))
	require.Equal(t, answers[0], answers[4])
}

func cancelsAgain(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	first := cancelAll(t, s, id)
	again := request(id)
	again.Reason, again.Time = "another", at(100)
	for range 2 {
		answers, err := s.Cancel(t.Context(), []store.CancelRequest{again})
		require.NoError(t, err)
		require.Equal(t, first, answers)
	}
	other := task.NewID()
	apply(t, s, queued(other))
	require.EqualValues(t, 2, cancelAll(t, s, other)[0].Outstanding.Position, "no position was spent")
}

func cancelsPresentRun(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	cancelAll(t, s, id)
	apply(t, s, delivered(id, task.PhaseDeadLettered), inRun(2, queued(id)))
	require.Equal(t, outstanding(id, 2, 2), cancelAll(t, s, id)[0].Outstanding)
	// A run that is known by its progress only has not ended.
	other := task.NewID()
	apply(t, s, queued(other), delivered(other, task.PhaseDeadLettered), inRun(2, numbered(other, task.PhaseProgress, 1)))
	require.Equal(t, outstanding(other, 2, 3), cancelAll(t, s, other)[0].Outstanding)
}

func cancelsNothing(t *testing.T, s store.Store) {
	require.Empty(t, cancelAll(t, s))
	requireCancellations(t, s)
}

func cancelsAnySpelling(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	require.Equal(t, outstanding(id, 1, 1), cancelAll(t, s, "urn:uuid:"+id)[0].Outstanding)
	requireCancellations(t, s, outstanding(id, 1, 1))
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

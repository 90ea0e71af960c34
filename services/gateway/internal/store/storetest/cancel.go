package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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

// lease leases all tasks that wait, for longer than the test takes.
func lease(t *testing.T, s store.Store) {
	t.Helper()
	due, _ := take(t, s, time.Now().AddDate(1, 0, 0), 10)
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
	begin := feedBegin(t, s)
	schedule(t, s, scheduled(id, at(1000)))
	a := cancelAll(t, s, id)[0]
	require.Equal(t, store.CancelAnswer{Task: get(t, s, id), Changed: true}, a)
	require.Equal(t, task.StateCancelled, a.Task.State)
	require.Equal(t, "not needed <&> ü", a.Task.CancelReason)
	require.Equal(t, at(7), a.Task.EndTime)
	require.Equal(t, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}, a.Task.Decided)
	requireNoMessage(t, s, id)
	due, next := take(t, s, at(2000), 10)
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
	schedule(t, s, scheduled(id, at(1000)))
	lease(t, s)
	a := cancelAll(t, s, id)[0]
	require.Equal(t, store.CancelAnswer{Task: get(t, s, id), Outstanding: outstanding(id, 1, 1)}, a)
	require.Equal(t, task.StateScheduled, a.Task.State, "its message may be on its way")
}

func cancelsOnceLeased(t *testing.T, s store.Store) {
	id := task.NewID()
	schedule(t, s, scheduled(id, at(1000)))
	due, _ := take(t, s, at(2000), 10)
	require.Len(t, due, 1)
	a := cancelAll(t, s, id)[0]
	require.Equal(t, outstanding(id, 1, 1), a.Outstanding)
	require.Equal(t, task.StateScheduled, a.Task.State, "its message may be in its queue")
}

func cancelsPublished(t *testing.T, s store.Store) {
	id := task.NewID()
	schedule(t, s, scheduled(id, at(1000)))
	lease(t, s)
	require.NoError(t, s.Unschedule(t.Context(), []string{id}))
	a := cancelAll(t, s, id)[0]
	require.Equal(t, task.StateScheduled, a.Task.State, "its QUEUED event is on its way")
	require.Equal(t, outstanding(id, 1, 1), a.Outstanding)
	require.False(t, a.Changed)
}

func cancelledStays(t *testing.T, s store.Store) {
	id := task.NewID()
	schedule(t, s, scheduled(id, at(1000)))
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

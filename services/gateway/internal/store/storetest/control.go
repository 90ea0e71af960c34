package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var controlRules = map[string]func(*testing.T, store.Store){
	"Controls/none at first":                   func(t *testing.T, s store.Store) { requireControls(t, s) },
	"Controls/are kept as they were put":       keepsControls,
	"Controls/the next version replaces":       replacesControl,
	"Controls/another version is refused":      refusesControl,
	"Controls/a repetition changes nothing":    repeatsControl,
	"Controls/of several operators, one wins":  oneControlWins,
	"Workers/none at first":                    func(t *testing.T, s store.Store) { requireWorkers(t, s) },
	"Workers/are kept as they were put last":   keepsWorkers,
	"Workers/are forgotten by when they spoke": forgetsWorkers,
	"Queued/of an empty queue":                 queuedOfNothing,
	"Queued/counts what waits for a retry":     queuedCountsRetries,
	"Queued/knows since when the oldest waits": queuedOldest,
}

func control(taskType, worker string, version int64) store.Control {
	return store.Control{
		TaskType: taskType, WorkerID: worker, Version: version, Encoded: []byte{0, byte(version), 255},
		Reason: "the provider is slow <&> ü", Time: at(int(version)),
	}
}

func requireControls(t *testing.T, s store.Store, want ...store.Control) {
	t.Helper()
	got, err := s.Controls(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func putControls(t *testing.T, s store.Store, controls ...store.Control) {
	t.Helper()
	for _, c := range controls {
		require.NoError(t, s.PutControl(t.Context(), c))
	}
}

func keepsControls(t *testing.T, s store.Store) {
	all, one, another := control("a.v1.A.M", "", 1), control("a.v1.A.M", "w-1", 1), control("a.v1.A.M", "w-2", 1)
	bare := store.Control{TaskType: "b.v1.B.M", Version: 1}
	putControls(t, s, bare, another, one, all)
	requireControls(t, s, all, one, another, bare)
}

func replacesControl(t *testing.T, s store.Store) {
	other := control("a.v1.A.M", "w-1", 1)
	putControls(t, s, other, control("a.v1.A.M", "", 1), control("a.v1.A.M", "", 2), control("a.v1.A.M", "", 3))
	requireControls(t, s, control("a.v1.A.M", "", 3), other)
}

func refusesControl(t *testing.T, s store.Store) {
	for _, version := range []int64{-1, 0, 2} {
		require.ErrorIs(t, s.PutControl(t.Context(), control("a.v1.A.M", "", version)), store.ErrChanged)
	}
	requireControls(t, s)
	putControls(t, s, control("a.v1.A.M", "", 1), control("a.v1.A.M", "", 2))
	other := control("a.v1.A.M", "", 2)
	other.Reason = "another"
	for _, c := range []store.Control{control("a.v1.A.M", "", 1), other, control("a.v1.A.M", "", 4), control("a.v1.A.M", "w-1", 2)} {
		err := s.PutControl(t.Context(), c)
		require.ErrorIs(t, err, store.ErrChanged)
		require.NotErrorIs(t, err, store.ErrUnavailable)
	}
	requireControls(t, s, control("a.v1.A.M", "", 2))
}

func repeatsControl(t *testing.T, s store.Store) {
	putControls(t, s, control("a.v1.A.M", "", 1), control("a.v1.A.M", "", 2), control("a.v1.A.M", "", 2))
	requireControls(t, s, control("a.v1.A.M", "", 2))
}

func oneControlWins(t *testing.T, s store.Store) {
	requireOneWins(t, 8, func(i int) error {
		c := control("a.v1.A.M", "", 1)
		c.Encoded = []byte{byte(i)}
		return s.PutControl(t.Context(), c)
	})
}

func requireWorkers(t *testing.T, s store.Store, want ...store.WorkerRecord) {
	t.Helper()
	got, err := s.Workers(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func putWorkers(t *testing.T, s store.Store, workers ...store.WorkerRecord) {
	t.Helper()
	require.NoError(t, s.PutWorkers(t.Context(), workers))
}

func keepsWorkers(t *testing.T, s store.Store) {
	putWorkers(t, s)
	a := store.WorkerRecord{ID: "a", Heartbeat: []byte{0, 255}, Seen: at(1)}
	b := store.WorkerRecord{ID: "b", Seen: at(2), Gone: at(3)}
	putWorkers(t, s, b, a)
	requireWorkers(t, s, a, b)
	a.Heartbeat, a.Seen, a.Gone = []byte{7}, at(5).Add(999).Truncate(time.Microsecond), at(6)
	b.Gone = time.Time{}
	putWorkers(t, s, a, a, b)
	requireWorkers(t, s, a, b)
}

func forgetsWorkers(t *testing.T, s store.Store) {
	old, recent := store.WorkerRecord{ID: "old", Seen: at(1)}, store.WorkerRecord{ID: "recent", Seen: at(2), Gone: at(2)}
	putWorkers(t, s, old, recent)
	putControls(t, s, control("a.v1.A.M", "", 1), control("a.v1.A.M", "old", 1), control("a.v1.A.M", "recent", 1), control("b.v1.B.M", "old", 1))
	require.NoError(t, s.ForgetWorkers(t.Context(), at(1)))
	requireWorkers(t, s, old, recent)
	require.NoError(t, s.ForgetWorkers(t.Context(), at(2)))
	requireWorkers(t, s, recent)
	requireControls(t, s, control("a.v1.A.M", "", 1), control("a.v1.A.M", "recent", 1))
	putControls(t, s, control("a.v1.A.M", "old", 1))
}

// standing is what Queued answers.
type standing struct {
	Retrying int64
	Oldest   time.Time
	Known    bool
}

func queuedOf(t *testing.T, s store.Store, taskType string) standing {
	t.Helper()
	retrying, oldest, known, err := s.Queued(t.Context(), taskType)
	require.NoError(t, err)
	return standing{retrying, oldest, known}
}

func queuedOfNothing(t *testing.T, s store.Store) {
	require.Equal(t, standing{Known: true}, queuedOf(t, s, taskType))
	apply(t, s, succeeded(task.NewID()), started(task.NewID()))
	require.Equal(t, standing{Known: true}, queuedOf(t, s, taskType))
}

func queuedCountsRetries(t *testing.T, s store.Store) {
	ids := newIDs(t, 4)
	for _, id := range ids {
		apply(t, s, queued(id), started(id), delivered(id, task.PhaseRetrying))
	}
	apply(t, s, ofType(otherType, queued(task.NewID()))...)
	other := ofType(otherType, delivered(task.NewID(), task.PhaseRetrying))
	apply(t, s, other...)
	require.Equal(t, standing{Retrying: 4, Known: true}, queuedOf(t, s, taskType))
	require.EqualValues(t, 1, queuedOf(t, s, otherType).Retrying)
	second := event(ids[0], task.Key{Run: 1, Attempt: 2, Delivery: 2, Phase: task.PhaseStarted})
	apply(t, s, second, succeeded(ids[1]), delivered(ids[2], task.PhaseCancelled))
	require.Equal(t, standing{Retrying: 1, Known: true}, queuedOf(t, s, taskType))
}

func queuedOldest(t *testing.T, s store.Store) {
	ids := newIDs(t, 4)
	first, second, other := queued(ids[1]), queued(ids[2]), queued(ids[0])
	first.Time, second.Time = at(70), at(50)
	apply(t, s, ofType(otherType, other)...)
	apply(t, s, first, second, queued(ids[3]))
	require.Equal(t, standing{Oldest: at(70), Known: true}, queuedOf(t, s, taskType), "the oldest by id")
	apply(t, s, started(ids[1]))
	require.Equal(t, standing{Oldest: at(50), Known: true}, queuedOf(t, s, taskType))
	back := delivered(ids[1], task.PhaseReleased)
	apply(t, s, back)
	require.Equal(t, standing{Oldest: back.Time, Known: true}, queuedOf(t, s, taskType), "it is QUEUED again")
}

// closeMakesControlsFail is for a store that is closed.
func closeMakesControlsFail(t *testing.T, s store.Store) {
	ctx, key := t.Context(), []store.KeyRef{{Type: taskType, Key: "k", Owner: "a"}}
	for name, call := range map[string]func() error{
		"Cancel":              func() error { _, err := s.Cancel(ctx, []store.CancelRequest{request(task.NewID())}); return err },
		"Cancellations":       func() error { _, err := s.Cancellations(ctx, 0, 1); return err },
		"CancelPosition":      func() error { _, err := s.CancelPosition(ctx); return err },
		"ForgetCancellations": func() error { _, err := s.ForgetCancellations(ctx, epoch, 1); return err },
		"PutControl":          func() error { return s.PutControl(ctx, control(taskType, "", 1)) },
		"Controls":            func() error { _, err := s.Controls(ctx); return err },
		"PutWorkers":          func() error { return s.PutWorkers(ctx, []store.WorkerRecord{{ID: "a"}}) },
		"Workers":             func() error { _, err := s.Workers(ctx); return err },
		"ForgetWorkers":       func() error { return s.ForgetWorkers(ctx, epoch) },
		"Queued":              func() error { _, _, _, err := s.Queued(ctx, taskType); return err },
		"CountRetrying":       func() error { _, err := s.CountRetrying(ctx); return err },
		"NextQueued":          func() error { _, err := s.NextQueued(ctx, taskType, ""); return err },
		"ClaimKeys":           func() error { _, err := s.ClaimKeys(ctx, epoch, []store.KeyClaim{claimOf("k", "a", 0)}); return err },
		"RenewKeys":           func() error { _, err := s.RenewKeys(ctx, key, epoch); return err },
		"SettleKeys":          func() error { return s.SettleKeys(ctx, key, true) },
		"PurgeKeys":           func() error { _, err := s.PurgeKeys(ctx, epoch, 1); return err },
	} {
		require.ErrorIs(t, call(), store.ErrUnavailable, name)
	}
}

package storetest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var putRules = map[string]func(*testing.T, store.Store){
	"Put/keeps all that is known":                    keepsAll,
	"Put/keeps what next to nothing is known of":     keepsLittle,
	"Put/of a run again changes nothing":             dropsKnown,
	"Put/keeps equal foreign messages apart":         keepsForeignApart,
	"Put/shows the highest run, whatever came first": showsHighest,
	"Put/takes a batch in its order":                 takesBatch,
	"Put/takes an id in any spelling":                takesAnySpelling,
	"Put/keeps clean texts and times":                keepsClean,
	"Put/dates what has no time":                     datesUndated,
	"Put/keeps a large message":                      keepsLarge,
	"Put/refuses a bad arrival with its batch":       refusesBad,
	"Put/changes nothing once its context is done": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		a := arrival(task.NewID(), 1)
		_, err := s.Put(ctx, []store.Arrival{a})
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, store.ErrUnavailable)
		requireGone(t, s, a.ID)
	},
	"Put/of nothing does nothing": func(t *testing.T, s store.Store) {
		require.Empty(t, put(t, s))
	},
}

func keepsAll(t *testing.T, s store.Store) {
	begin := time.Now().Truncate(time.Microsecond)
	a := arrival(task.NewID(), 3)
	require.Equal(t, []store.Change{{ID: a.ID, Kind: store.ChangeCreated, State: store.StateOpen, Run: 3}}, put(t, s, a))
	got := get(t, s, a.ID)
	requireSame(t, whole(store.StateOpen, a), got)
	require.Equal(t, a.ID, got.TaskID())
	require.Empty(t, got.OperatorReason)
	require.False(t, got.UpdateTime.Before(begin))
	require.False(t, got.UpdateTime.After(time.Now()))

	entries, err := s.Audit(t.Context(), a.ID)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, store.AuditEntry{
		Sequence: entries[0].Sequence, DeadLetterID: a.ID, Time: got.UpdateTime, Action: store.ActionArrive, To: store.StateOpen, Run: 3,
	}, entries[0])
}

func keepsLittle(t *testing.T, s store.Store) {
	a := store.Arrival{ID: task.NewID(), Foreign: true, Occurrence: store.Occurrence{Cause: task.CauseUndecodable, DeadTime: epoch}}
	put(t, s, a)
	got := get(t, s, a.ID)
	requireSame(t, whole(store.StateOpen, a), got)
	require.Empty(t, got.TaskID())
	require.Nil(t, got.Failure)
	require.Nil(t, got.Message.Body)
	require.True(t, got.CreateTime.IsZero())
}

func dropsKnown(t *testing.T, s store.Store) {
	a := arrival(task.NewID(), 1)
	put(t, s, a)
	want := get(t, s, a.ID)
	again := arrival(a.ID, 1)
	again.Type, again.Occurrence.Reason, again.Message.Body, again.Notify = "other.v1.A.B", "OTHER", []byte("other"), true
	require.Equal(t, []store.Change{{ID: a.ID, Kind: store.ChangeNone, State: store.StateOpen, Run: 1}}, put(t, s, again))
	require.Equal(t, want, get(t, s, a.ID))

	discard(t, s, a.ID)
	want = get(t, s, a.ID)
	require.Equal(t, []store.Change{{ID: a.ID, Kind: store.ChangeNone, State: store.StateDiscarded, Run: 1}}, put(t, s, again))
	require.Equal(t, want, get(t, s, a.ID))
	entries, err := s.Audit(t.Context(), a.ID)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	due, err := s.DueNotifications(t.Context(), store.BuiltInRule, time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Empty(t, due)
}

func keepsForeignApart(t *testing.T, s store.Store) {
	a, b := foreign(task.NewID()), foreign(task.NewID())
	for _, c := range put(t, s, a, b) {
		require.Equal(t, store.ChangeCreated, c.Kind)
	}
	requireSame(t, whole(store.StateOpen, a), get(t, s, a.ID))
	requireSame(t, whole(store.StateOpen, b), get(t, s, b.ID))
}

func showsHighest(t *testing.T, s store.Store) {
	for _, order := range [][]int{{1, 2, 3}, {3, 2, 1}, {2, 3, 1}, {2, 1, 3}} {
		id := task.NewID()
		var arrivals []store.Arrival
		highest := 0
		for i, run := range order {
			a := arrival(id, run)
			arrivals = append(arrivals, a)
			kind := store.ChangeHistory
			switch {
			case i == 0:
				kind = store.ChangeCreated
			case run > highest:
				kind = store.ChangeDiedAgain
			}
			highest = max(highest, run)
			require.Equal(t, []store.Change{{ID: id, Kind: kind, State: store.StateOpen, Run: run}}, put(t, s, a))
			requireSame(t, whole(store.StateOpen, arrivals...), get(t, s, id))
		}
	}
}

func takesBatch(t *testing.T, s store.Store) {
	a, b := task.NewID(), task.NewID()
	changes := put(t, s, arrival(a, 1), arrival(b, 2), arrival(a, 1), arrival(a, 2), arrival(b, 1))
	kinds := make([]store.ChangeKind, len(changes))
	for i := range changes {
		kinds[i] = changes[i].Kind
	}
	require.Equal(t, []store.ChangeKind{
		store.ChangeCreated, store.ChangeCreated, store.ChangeNone, store.ChangeDiedAgain, store.ChangeHistory,
	}, kinds)
	requireSame(t, whole(store.StateOpen, arrival(a, 1), arrival(a, 2)), get(t, s, a))
	requireSame(t, whole(store.StateOpen, arrival(b, 2), arrival(b, 1)), get(t, s, b))

	many := make([]store.Arrival, 1000)
	for i := range many {
		many[i] = arrival(task.NewID(), 1)
	}
	put(t, s, many...)
	requireSame(t, whole(store.StateOpen, many[999]), get(t, s, many[999].ID))
}

func takesAnySpelling(t *testing.T, s store.Store) {
	a := arrival(task.NewID(), 1)
	u := uuid.MustParse(a.ID)
	upper, urn := a, arrival(u.URN(), 2)
	upper.ID = strings.ToUpper(a.ID)
	changes := put(t, s, upper, urn)
	require.Equal(t, a.ID, changes[0].ID)
	require.Equal(t, store.ChangeDiedAgain, changes[1].Kind)
	require.Equal(t, a.ID, get(t, s, upper.ID).ID)
	d, _ := replay(t, s, upper.ID, 3)
	require.Equal(t, a.ID, d.ID)
}

func keepsClean(t *testing.T, s store.Store) {
	a := arrival(task.NewID(), 1)
	a.Type, a.Occurrence.Failure.Message = "x\xff", "a\x00b"
	a.Labels = map[string]string{"k\x00": "\xff"}
	a.CreateTime, a.Occurrence.DeadTime = epoch.Add(999).In(time.FixedZone("", 3600)), epoch.Add(999)
	a.RunTime = time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)
	put(t, s, a)
	got := get(t, s, a.ID)
	require.Equal(t, "x\uFFFD", got.Type)
	require.Equal(t, "a\uFFFDb", got.Failure.Message)
	require.Equal(t, map[string]string{"k\uFFFD": "\uFFFD"}, got.Labels)
	require.Equal(t, epoch, got.CreateTime)
	require.Equal(t, epoch, got.DeadTime)
	require.True(t, got.RunTime.IsZero())
	require.Equal(t, "a\x00b", a.Occurrence.Failure.Message, "the caller's is not touched")
}

func datesUndated(t *testing.T, s store.Store) {
	a := arrival(task.NewID(), 1)
	a.Occurrence.DeadTime = time.Time{}
	put(t, s, a)
	got := get(t, s, a.ID)
	require.Equal(t, got.UpdateTime, got.DeadTime)
	require.Equal(t, got.UpdateTime, got.FirstDeadTime)
}

func keepsLarge(t *testing.T, s store.Store) {
	a := foreign(task.NewID())
	a.Message.Body = bytes.Repeat([]byte("0123456789abcdef"), 16<<20/16)
	put(t, s, a)
	got := get(t, s, a.ID)
	require.EqualValues(t, 16<<20, got.PayloadSize)
	require.True(t, bytes.Equal(a.Message.Body, got.Message.Body))
}

func refusesBad(t *testing.T, s store.Store) {
	known, unknown := arrival(task.NewID(), 1), arrival(task.NewID(), 1)
	put(t, s, known)
	want := get(t, s, known.ID)
	for name, spoil := range map[string]func(*store.Arrival){
		"id":       func(a *store.Arrival) { a.ID = "x" },
		"type":     func(a *store.Arrival) { a.Type = "" },
		"run":      func(a *store.Arrival) { a.Occurrence.Run = 0 },
		"high run": func(a *store.Arrival) { a.Occurrence.Run = 1 << 40 },
		"attempt":  func(a *store.Arrival) { a.Occurrence.Attempt = -1 },
		"cause":    func(a *store.Arrival) { a.Occurrence.Cause = 0 },
	} {
		bad := arrival(task.NewID(), 1)
		spoil(&bad)
		good := []store.Arrival{unknown, arrival(known.ID, 2)}
		for i := range len(good) + 1 {
			_, err := s.Put(t.Context(), slices.Insert(slices.Clone(good), i, bad))
			require.ErrorIs(t, err, store.ErrBadArrival, name)
			require.NotErrorIs(t, err, store.ErrUnavailable, name)
		}
		requireGone(t, s, unknown.ID)
		require.Equal(t, want, get(t, s, known.ID))
	}
}

package storetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var applyRules = map[string]func(*testing.T, store.Store){
	"Apply/any order and repetition is the join": anyHistory,
	"Apply/keeps all that is known of a task":    keepsAll,
	"Apply/keeps all that is known of a retry":   keepsRetry,
	"Apply/keeps a call's headers and trailers":  keepsMetadata,
	"Apply/folds a task's events of a batch":     foldsBatch,
	"Apply/drops an event of a known key":        dropsKnown,
	"Apply/drops the second of a key in a batch": dropsSecond,
	"Apply/takes in events of equal tasks apart": keepsTasksApart,
	"Apply/marks a correction":                   marksCorrection,
	"Apply/takes in what comes after the end":    takesLate,
	"Apply/creates a task by any event":          createsByAny,
	"Apply/takes an id in any spelling":          takesAnySpelling,
	"Apply/keeps times to the microsecond":       keepsMicroseconds,
	"Apply/refuses a bad event with its batch":   refusesBad,
	"Apply/counts each event once":               countsOnce,
	"Apply/changes nothing once its context is done": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		id := task.NewID()
		_, err := s.Apply(ctx, []task.Event{queued(id)})
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, store.ErrUnavailable)
		requireGone(t, s, id)
	},
	"Apply/of nothing does nothing": func(t *testing.T, s store.Store) {
		require.Empty(t, apply(t, s))
	},
}

func keepsAll(t *testing.T, s store.Store) {
	id := task.NewID()
	events := []task.Event{
		queued(id), started(id), numbered(id, task.PhaseProgress, 1), numbered(id, task.PhaseMessage, 1),
		delivered(id, task.PhaseDeadLettered),
	}
	want := task.Task{}
	var history []task.NumberedEvent
	for _, e := range events {
		if applied := want.Apply(&e); applied.Number > 0 {
			history = append(history, asRead(task.NumberedEvent{Event: e, Applied: applied}, true))
		}
		apply(t, s, e)
		require.Equal(t, want, get(t, s, id))
	}
	require.NotNil(t, want.Failure)
	require.Equal(t, history, all(t, s, id))
}

func keepsMetadata(t *testing.T, s store.Store) {
	id := task.NewID()
	full := strings.Repeat("\xff", task.MaxResponseMetadata)
	none, some, most := delivered(id, task.PhaseReleased), delivered(id, task.PhaseRetrying), succeeded(id)
	most.Headers, most.Trailers = task.Metadata{"a-bin": {full}}, task.Metadata{"b": {full, full}, "c": {""}}
	apply(t, s, none, some, most)
	for _, bodies := range []bool{false, true} {
		events, err := s.Events(t.Context(), id, 0, 10, bodies)
		require.NoError(t, err)
		require.Len(t, events, 3)
		for i, want := range []task.Event{none, some, most} {
			require.Equal(t, want.Headers, events[i].Headers)
			require.Equal(t, want.Trailers, events[i].Trailers)
		}
	}
	history, err := s.History(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, most.Headers, history[2].Headers)

	// What has no keys is none.
	empty := event(id, task.Key{Run: 1, Attempt: 1, Delivery: 2, Phase: task.PhaseRetrying})
	empty.Headers, empty.Trailers = task.Metadata{}, task.Metadata{}
	apply(t, s, empty)
	last := all(t, s, id)[3]
	require.Nil(t, last.Headers)
	require.Nil(t, last.Trailers)
}

func keepsRetry(t *testing.T, s store.Store) {
	for _, delivery := range []int64{1, 2} {
		id := task.NewID()
		alone := event(id, task.Key{Run: 1, Attempt: 3, Delivery: 9, Phase: task.PhaseStarted})
		retry := event(id, task.Key{Run: 1, Attempt: 2, Delivery: delivery, Phase: task.PhaseRetrying})
		apply(t, s, queued(id), retry)
		got := get(t, s, id)
		require.Equal(t, task.StateRetrying, got.State)
		require.Equal(t, retry.Failure, got.Failure)
		require.Equal(t, retry.NextAttemptTime, got.NextAttemptTime)
		require.Equal(t, queued(id).Head.ExpireTime, got.ExpireTime)
		apply(t, s, alone)
		got = get(t, s, id)
		require.Nil(t, got.Failure)
		require.Zero(t, got.NextAttemptTime)
		events := all(t, s, id)
		require.Equal(t, retry, events[1].Event)
		require.Equal(t, alone, events[2].Event)
		require.True(t, events[2].Execution.Alone)
	}
}

func foldsBatch(t *testing.T, s store.Store) {
	a, b := task.NewID(), task.NewID()
	changes := apply(t, s, queued(b), queued(a), started(b), started(a), succeeded(b))
	require.Equal(t, []store.Change{
		{TaskID: b, Version: 3, State: task.StateSucceeded},
		{TaskID: a, Version: 2, State: task.StateRunning},
	}, changes)
	require.Equal(t, []int64{1, 2, 3}, numbers(all(t, s, b)))

	var many []task.Event
	for range 1000 {
		id := task.NewID()
		many = append(many, queued(id), started(id), succeeded(id))
	}
	changes = apply(t, s, many...)
	require.Len(t, changes, 1000)
	for _, c := range changes {
		require.EqualValues(t, 3, c.Version)
	}
	require.Equal(t, []int64{1, 2, 3}, numbers(all(t, s, changes[999].TaskID)))
}

func dropsKnown(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), started(id))
	want := get(t, s, id)
	require.Empty(t, apply(t, s, started(id), queued(id)))
	require.Equal(t, want, get(t, s, id))
	// A number is spent by a new event only.
	changes := apply(t, s, queued(id), started(id), succeeded(id))
	require.Equal(t, []store.Change{{TaskID: id, Version: 3, State: task.StateSucceeded}}, changes)
	require.Equal(t, []int64{1, 2, 3}, numbers(all(t, s, id)))
}

func dropsSecond(t *testing.T, s store.Store) {
	id := task.NewID()
	other := started(id)
	other.WorkerID, other.Time = "w-2", at(1)
	changes := apply(t, s, queued(id), started(id), other, queued(id), succeeded(id))
	require.Equal(t, []store.Change{{TaskID: id, Version: 3, State: task.StateSucceeded}}, changes)
	events := all(t, s, id)
	require.Equal(t, []int64{1, 2, 3}, numbers(events))
	require.Equal(t, "w-1", events[1].WorkerID)
}

func keepsTasksApart(t *testing.T, s store.Store) {
	a, b := task.NewID(), task.NewID()
	apply(t, s, queued(a))
	require.Len(t, apply(t, s, queued(b)), 1)
	require.Equal(t, []int64{1}, numbers(all(t, s, b)))
	// Two messages of one task have events of their own.
	second := queued(a)
	second.Key.Copy = task.Copy{2}
	require.Equal(t, []store.Change{{TaskID: a, Version: 2, State: task.StateQueued}}, apply(t, s, second))
}

func marksCorrection(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), delivered(id, task.PhaseDeadLettered))
	apply(t, s, succeeded(id))
	events := all(t, s, id)
	require.Equal(t, []bool{false, false, true}, []bool{events[0].Correction, events[1].Correction, events[2].Correction})
	got := get(t, s, id)
	require.Equal(t, task.StateSucceeded, got.State)
	require.Nil(t, got.Failure)
	require.Zero(t, got.Cause)
}

func takesLate(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, succeeded(id))
	changes := apply(t, s, started(id), queued(id))
	require.Equal(t, []store.Change{{TaskID: id, Version: 3, State: task.StateSucceeded}}, changes)
	got := get(t, s, id)
	require.EqualValues(t, 1, got.ResultNumber)
	require.EqualValues(t, 3, got.PayloadNumber)
	require.Equal(t, started(id).Time, got.StartTime)
	require.Equal(t, queued(id).Head.Labels, got.Labels)
}

func createsByAny(t *testing.T, s store.Store) {
	for _, phase := range []task.Phase{
		task.PhaseStarted, task.PhaseMessage, task.PhaseRetrying, task.PhaseReleased, task.PhaseLost,
		task.PhaseDeadLettered, task.PhaseCancelled, task.PhaseSucceeded,
	} {
		id := task.NewID()
		apply(t, s, delivered(id, phase))
		got := get(t, s, id)
		require.Equal(t, phase.State(), got.State)
		require.Equal(t, taskType, got.Type)
		require.True(t, got.CreateTime.IsZero())
		require.Nil(t, got.Labels)
	}
}

func takesAnySpelling(t *testing.T, s store.Store) {
	id := task.NewID()
	u := uuid.MustParse(id)
	upper := strings.ToUpper(id)
	changes := apply(t, s, queued(upper), started(u.URN()), started(id))
	require.Equal(t, []store.Change{{TaskID: id, Version: 2, State: task.StateRunning}}, changes)
	require.Equal(t, id, get(t, s, upper).ID)
	require.Equal(t, id, all(t, s, upper)[0].TaskID)
}

func keepsMicroseconds(t *testing.T, s store.Store) {
	id := task.NewID()
	zone := time.FixedZone("", 3600)
	e, retry, end := queued(id), delivered(id, task.PhaseRetrying), succeeded(id)
	e.Time = epoch.Add(999).In(zone)
	e.Head.CreateTime = epoch.Add(999).In(zone)
	e.Head.ExpireTime = epoch.Add(time.Hour + 999).In(zone)
	retry.NextAttemptTime = epoch.Add(time.Minute + 999).In(zone)
	end.Time = time.Time{}
	apply(t, s, e, retry)
	require.Equal(t, epoch.Add(time.Minute), get(t, s, id).NextAttemptTime)
	require.Equal(t, epoch.Add(time.Minute), all(t, s, id)[1].NextAttemptTime)
	apply(t, s, end)
	got, events := get(t, s, id), all(t, s, id)
	require.Equal(t, epoch, got.CreateTime)
	require.Equal(t, epoch.Add(time.Hour), got.ExpireTime)
	require.Equal(t, epoch, events[0].Time)
	require.True(t, events[2].Time.IsZero())
	require.True(t, got.EndTime.IsZero())
}

func refusesBad(t *testing.T, s store.Store) {
	known, unknown := task.NewID(), task.NewID()
	apply(t, s, queued(known))
	want := get(t, s, known)
	for name, spoil := range map[string]func(*task.Event){
		"id":      func(e *task.Event) { e.TaskID = "x" },
		"type":    func(e *task.Event) { e.Type = "" },
		"phase":   func(e *task.Event) { e.Key.Phase = 99 },
		"run":     func(e *task.Event) { e.Key.Run = 0 },
		"attempt": func(e *task.Event) { e.Key.Attempt = 1 << 40 },
	} {
		bad := succeeded(known)
		spoil(&bad)
		good := []task.Event{queued(unknown), started(known), numbered(known, task.PhaseProgress, 1)}
		for i := range len(good) + 1 {
			_, err := s.Apply(t.Context(), slices.Insert(slices.Clone(good), i, bad))
			require.ErrorIs(t, err, store.ErrBadEvent, name)
			require.NotErrorIs(t, err, store.ErrUnavailable, name)
		}
		requireGone(t, s, unknown)
		require.Equal(t, want, get(t, s, known))
		require.Len(t, all(t, s, known), 1)
	}
}

// What comes twice, in one batch or in another, is counted once; so is the end of a task
// that is corrected.
func countsOnce(t *testing.T, s store.Store) {
	id := task.NewID()
	changes := applyAll(t, s, queued(id), started(id), started(id))
	require.Len(t, changes, 1)
	require.Equal(t, queued(id).Type, changes[0].Type)
	news := changes[0].News
	require.True(t, news.Started)
	require.False(t, news.Ended)
	require.Empty(t, applyAll(t, s, started(id), queued(id)))
	news = applyAll(t, s, started(id), succeeded(id), succeeded(id))[0].News
	require.Equal(t, 1, news.Succeeded)
	require.Equal(t, 1, news.Attempts.Succeeded)
	require.True(t, news.Ended)
	require.False(t, news.Started)
	require.Positive(t, news.Took)
	require.Empty(t, applyAll(t, s, succeeded(id)))
}

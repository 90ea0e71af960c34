package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var conditionRules = map[string]func(*testing.T, store.Store){
	"CountArrivals/of those that match":  countsArrivals,
	"OpenByCode/by type, cause and code": countsByCode,
	"Measure/tells when it begins":       tellsWhenItBegins,
	"Measure/holds back and counts it":   holdsConditionsBack,
	"Measure/tells after the throttle":   tellsAfterTheThrottle,
	"Measure/only of the rule as it is":  measuresTheRule,
}

func countsArrivals(t *testing.T, s store.Store) {
	r := store.Rule{ID: "rate", Trigger: store.TriggerRate, Types: []string{"demo.*"}, Threshold: 1, Window: time.Hour, Channels: []string{"mail"}}
	createRule(t, s, r)
	off := r
	off.ID, off.Disabled = "off", true
	createRule(t, s, off)
	id, other := task.NewID(), arrival(task.NewID(), 1)
	other.Type = "other.v1.X"
	changes := put(t, s, arrival(id, 1), arrival(task.NewID(), 1), other)
	require.False(t, changes[0].Notified)
	put(t, s, arrival(id, 2), arrival(id, 1))
	count := func(rule string, since time.Time) int64 {
		n, err := s.CountArrivals(t.Context(), rule, since)
		require.NoError(t, err)
		return n
	}
	hourAgo := time.Now().Add(-time.Hour)
	require.EqualValues(t, 3, count("rate", hourAgo))
	require.Zero(t, count("off", hourAgo))
	require.Zero(t, count("rate", time.Now().Add(time.Hour)))
	_, err := s.UpdateRule(t.Context(), "rate", "", func(r store.Rule) (store.Rule, error) {
		r.Types = nil
		return r, nil
	}, ruler)
	require.NoError(t, err)
	require.Zero(t, count("rate", hourAgo), "what was counted was something else")
}

func countsByCode(t *testing.T, s store.Store) {
	first, second, other, gone := arrival(task.NewID(), 1), arrival(task.NewID(), 1), arrival(task.NewID(), 1), arrival(task.NewID(), 1)
	second.Occurrence.DeadTime = first.Occurrence.DeadTime.Add(-time.Hour)
	other.Occurrence.Failure = &task.Failure{Code: 14}
	stray := foreign(task.NewID())
	put(t, s, first, second, other, gone, stray)
	discard(t, s, gone.ID)
	counts, err := s.OpenByCode(t.Context())
	require.NoError(t, err)
	cause := first.Occurrence.Cause
	require.ElementsMatch(t, []store.OpenByCode{
		{OpenCount: store.OpenCount{Cause: task.CauseUndecodable, Count: 1, Oldest: stray.Occurrence.DeadTime.UTC()}},
		{OpenCount: store.OpenCount{Type: taskType, Cause: cause, Count: 2, Oldest: second.Occurrence.DeadTime.UTC()}, Code: 13},
		{OpenCount: store.OpenCount{Type: taskType, Cause: cause, Count: 1, Oldest: other.Occurrence.DeadTime.UTC()}, Code: 14},
	}, counts)
}

func condition(t *testing.T, s store.Store, throttle time.Duration) store.Rule {
	t.Helper()
	return createRule(t, s, store.Rule{
		ID: "many", Trigger: store.TriggerCount, Threshold: 5, Channels: []string{"mail", "chat"}, Throttle: throttle,
	})
}

func measure(t *testing.T, s store.Store, r store.Rule, holds bool) bool {
	t.Helper()
	return note(t, s, r, holds).Told
}

func note(t *testing.T, s store.Store, r store.Rule, holds bool) store.Noted {
	t.Helper()
	noted, err := s.Measure(t.Context(), r.ID, r.Etag, holds, store.Measured{Count: 6, Threshold: 5, Age: time.Minute, Window: time.Second})
	require.NoError(t, err)
	return noted
}

// A condition that begins to hold within the throttle is told at its end.
func tellsAfterTheThrottle(t *testing.T, s store.Store) {
	r := condition(t, s, 300*time.Millisecond)
	require.Equal(t, store.Noted{Told: true, Settled: true}, note(t, s, r, true))
	require.Equal(t, store.Noted{Settled: true}, note(t, s, r, true))
	require.Equal(t, store.Noted{Settled: true}, note(t, s, r, false))
	require.Eventually(t, func() bool {
		noted := note(t, s, r, true)
		require.Equal(t, noted.Told, noted.Settled)
		return noted.Told
	}, time.Minute, time.Millisecond)
	require.Equal(t, store.Noted{Settled: true}, note(t, s, r, true))
	all := told(t, s)
	require.Len(t, all, 4)
	require.Zero(t, all[2].HeldBack, "nothing was held back for good")
}

func tellsWhenItBegins(t *testing.T, s store.Store) {
	r := condition(t, s, 0)
	require.False(t, measure(t, s, r, false))
	require.True(t, measure(t, s, r, true))
	require.False(t, measure(t, s, r, true))
	all := told(t, s)
	require.Len(t, all, 2)
	n := all[0]
	require.Equal(t, store.Notification{
		Sequence: n.Sequence, ID: n.ID, State: store.NotificationWaiting, RuleID: "many", Channel: "mail", Trigger: store.TriggerCount,
		Measured: store.Measured{Count: 6, Threshold: 5, Age: time.Minute, Window: time.Second}, Time: n.Time, NextTime: n.Time,
	}, n)
	require.Equal(t, "chat", all[1].Channel)
	require.False(t, measure(t, s, r, false))
	require.True(t, measure(t, s, r, true))
	require.Len(t, told(t, s), 4)
}

func holdsConditionsBack(t *testing.T, s store.Store) {
	r := condition(t, s, 24*time.Hour)
	require.True(t, measure(t, s, r, true))
	for range 2 {
		measure(t, s, r, false)
		require.False(t, measure(t, s, r, true))
	}
	measure(t, s, r, false)
	r, err := s.UpdateRule(t.Context(), r.ID, "", func(r store.Rule) (store.Rule, error) {
		r.Throttle = 0
		return r, nil
	}, ruler)
	require.NoError(t, err)
	require.True(t, measure(t, s, r, true))
	require.EqualValues(t, 2, told(t, s)[2].HeldBack)
}

func measuresTheRule(t *testing.T, s store.Store) {
	old := condition(t, s, 0)
	r, err := s.UpdateRule(t.Context(), old.ID, "", func(r store.Rule) (store.Rule, error) {
		r.Threshold = 50
		return r, nil
	}, ruler)
	require.NoError(t, err)
	require.False(t, measure(t, s, old, true))
	require.True(t, measure(t, s, r, true))
	require.NoError(t, s.DeleteRule(t.Context(), r.ID, "", ruler))
	require.False(t, measure(t, s, r, true))
	require.Len(t, told(t, s), 2)
	// One that comes back has told of nothing.
	require.True(t, measure(t, s, condition(t, s, 0), true))
}

package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var groupRuleRules = map[string]func(*testing.T, store.Store){
	"Rules/tell once of a new group":              tellsOfNewGroups,
	"Rules/tell of each time a group regresses":   tellsOfRegressions,
	"Rules/tell of a quarantine":                  tellsOfQuarantines,
	"Rules/hold back by group":                    holdsBackByGroup,
	"Rules/tell late of what was held back":       tellsLateOfRegressions,
	"Rules/tell nothing of a group that is muted": tellsNothingOfMuted,
}

func onGroups(t *testing.T, s store.Store, trigger store.Trigger, throttle time.Duration) {
	t.Helper()
	createRule(t, s, store.Rule{ID: "r", Trigger: trigger, Channels: []string{"mail"}, Throttle: throttle})
}

// toldOf are the groups of all notifications, the first one first.
func toldOf(t *testing.T, s store.Store) []string {
	t.Helper()
	groups := []string{}
	for _, n := range told(t, s) {
		groups = append(groups, n.GroupID)
	}
	return groups
}

func tellsOfNewGroups(t *testing.T, s store.Store) {
	put(t, s, in(1, arrival(task.NewID(), 1)))
	onGroups(t, s, store.TriggerNewGroup, 5*time.Minute)
	id := task.NewID()
	put(t, s, in(1, arrival(task.NewID(), 1)), in(2, arrival(id, 1)), in(2, arrival(task.NewID(), 1)))
	require.False(t, put(t, s, in(2, arrival(task.NewID(), 1)))[0].Notified)
	require.False(t, put(t, s, in(2, arrival(id, 1)))[0].Notified)
	require.True(t, put(t, s, in(3, arrival(id, 2)))[0].Notified)
	require.Equal(t, []string{groupID(2), groupID(3)}, toldOf(t, s))
	n := told(t, s)[1]
	require.Equal(t, id, n.DeadLetterID)
	require.Equal(t, 2, n.Run)
	require.Equal(t, store.TriggerNewGroup, n.Trigger)
}

func tellsOfRegressions(t *testing.T, s store.Store) {
	onGroups(t, s, store.TriggerRegressedGroup, 0)
	put(t, s, in(1, arrival(task.NewID(), 1)))
	for n := range 2 {
		setGroup(t, s, 1, store.GroupResolved)
		require.Len(t, told(t, s), n)
		require.True(t, put(t, s, fresh(in(1, arrival(task.NewID(), 1))))[0].Notified)
		require.False(t, put(t, s, fresh(in(1, arrival(task.NewID(), 1))))[0].Notified)
	}
	require.Equal(t, []string{groupID(1), groupID(1)}, toldOf(t, s))
}

func holdsBackByGroup(t *testing.T, s store.Store) {
	onGroups(t, s, store.TriggerDeadLetter, 24*time.Hour)
	for range 3 {
		put(t, s, in(1, arrival(task.NewID(), 1)), in(2, arrival(task.NewID(), 1)))
	}
	require.Equal(t, []string{groupID(1), groupID(2), groupID(1), groupID(2)}, toldOf(t, s))
	due, err := s.DueNotifications(t.Context(), "mail", soon(), 10)
	require.NoError(t, err)
	require.Len(t, due, 2)
	for i, n := range told(t, s) {
		require.EqualValues(t, i/2, n.HeldBack)
	}
}

// A failure that comes back while the rule holds back is told, later.
func tellsLateOfRegressions(t *testing.T, s store.Store) {
	onGroups(t, s, store.TriggerRegressedGroup, 24*time.Hour)
	put(t, s, in(1, arrival(task.NewID(), 1)))
	for n := range 2 {
		setGroup(t, s, 1, store.GroupResolved)
		require.Equal(t, n == 0, put(t, s, fresh(in(1, arrival(task.NewID(), 1))))[0].Notified)
	}
	all := told(t, s)
	require.Len(t, all, 2)
	require.Equal(t, all[0].Time.Add(24*time.Hour), all[1].NextTime)
}

func tellsNothingOfMuted(t *testing.T, s store.Store) {
	onGroups(t, s, store.TriggerDeadLetter, 0)
	createRule(t, s, store.Rule{ID: "rate", Trigger: store.TriggerRate, Window: time.Hour, Channels: []string{"mail"}})
	first := in(1, arrival(task.NewID(), 1))
	put(t, s, first)
	mute := func(until time.Time) {
		_, err := s.UpdateGroup(t.Context(), store.GroupUpdate{ID: groupID(1), MuteUntil: &until})
		require.NoError(t, err)
	}
	mute(soon())
	muted := in(1, notifying(task.NewID(), 1))
	require.False(t, put(t, s, muted)[0].Notified)
	require.True(t, put(t, s, in(2, arrival(task.NewID(), 1)))[0].Notified)
	mute(time.Now().Add(-time.Hour))
	require.True(t, put(t, s, in(1, arrival(task.NewID(), 1)))[0].Notified)
	mute(soon())
	mute(time.Time{})
	require.True(t, put(t, s, in(1, arrival(task.NewID(), 1)))[0].Notified)
	require.Equal(t, []string{groupID(1), groupID(2), groupID(1), groupID(1)}, toldOf(t, s))
	n, err := s.CountArrivals(t.Context(), "rate", epoch)
	require.NoError(t, err)
	require.EqualValues(t, 4, n, "what is muted counts for no rate")
}

func tellsOfQuarantines(t *testing.T, s store.Store) {
	onGroups(t, s, store.TriggerQuarantine, 0)
	id := task.NewID()
	put(t, s, in(1, arrival(id, 1)))
	quarantined := 0
	for run := 2; quarantined == 0; run++ {
		require.Less(t, run, 100)
		require.Empty(t, told(t, s))
		replay(t, s, id, run)
		change := put(t, s, in(1, arrival(id, run)))[0]
		require.Equal(t, change.State == store.StateQuarantined, change.Notified)
		if change.State == store.StateQuarantined {
			quarantined = run
		}
	}
	// It is QUARANTINED already.
	require.False(t, put(t, s, in(1, arrival(id, quarantined+1)))[0].Notified)
	all := told(t, s)
	require.Len(t, all, 1)
	require.Equal(t, store.TriggerQuarantine, all[0].Trigger)
	require.Equal(t, quarantined, all[0].Run)
}

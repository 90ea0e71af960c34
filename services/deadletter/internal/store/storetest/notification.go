package storetest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var notificationRules = map[string]func(*testing.T, store.Store){
	"Notifications/once for each run that died": notifiesOnce,
	"Notifications/not for history":             notifiesNoHistory,
	"Notifications/are retried, then given up":  retriesNotification,
	"Notifications/the earliest first":          ordersNotifications,
}

func notifying(id string, run int) store.Arrival {
	a := arrival(id, run)
	a.Notify = true
	return a
}

func due(t *testing.T, s store.Store, now time.Time) []store.Notification {
	t.Helper()
	notifications, err := s.DueNotifications(t.Context(), store.BuiltInRule, now, store.MaxPage)
	require.NoError(t, err)
	return notifications
}

func soon() time.Time { return time.Now().Add(time.Hour) }

func notifiesOnce(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(task.NewID(), 1))
	for range 2 {
		changes := put(t, s, notifying(id, 1))
		require.Equal(t, changes[0].Kind == store.ChangeCreated, changes[0].Notified)
	}
	all := due(t, s, time.Now())
	require.Len(t, all, 1)
	n := all[0]
	require.Equal(t, get(t, s, id).UpdateTime, n.Time)
	require.Equal(t, store.Notification{
		Sequence: n.Sequence, ID: n.ID, State: store.NotificationWaiting, RuleID: store.BuiltInRule, Channel: store.BuiltInRule,
		Trigger: store.TriggerDeadLetter, DeadLetterID: id, Run: 1, Type: taskType, Cause: task.CauseAttemptsExhausted, Code: 13,
		Time: n.Time, NextTime: n.Time,
	}, n)
	require.NoError(t, uuid.Validate(n.ID))
	require.Empty(t, due(t, s, n.NextTime.Add(-time.Microsecond)))

	require.True(t, put(t, s, notifying(id, 2))[0].Notified)
	all = due(t, s, soon())
	require.Len(t, all, 2)
	require.NotEqual(t, n.ID, all[1].ID)
	for range 2 {
		require.NoError(t, s.NotificationSent(t.Context(), n.ID))
	}
	require.Equal(t, all[1:], due(t, s, soon()))
}

func notifiesNoHistory(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 2))
	require.False(t, put(t, s, notifying(id, 1))[0].Notified)
	replay(t, s, id, 4)
	require.False(t, put(t, s, notifying(id, 3))[0].Notified)
	require.Empty(t, due(t, s, soon()))
	require.True(t, put(t, s, notifying(id, 4))[0].Notified)
	require.Len(t, due(t, s, soon()), 1)
}

func retriesNotification(t *testing.T, s store.Store) {
	ctx := t.Context()
	put(t, s, notifying(task.NewID(), 1))
	n := due(t, s, soon())[0]
	next := n.Time.Add(time.Minute)
	require.NoError(t, s.NotificationFailed(ctx, n.ID, store.NotificationFailure{Error: "503", NextTime: next}))
	require.Empty(t, due(t, s, next.Add(-time.Microsecond)))
	n.Attempts, n.NextTime, n.LastError = 1, next, "503"
	require.Equal(t, []store.Notification{n}, due(t, s, next))

	require.NoError(t, s.NotificationFailed(ctx, n.ID, store.NotificationFailure{Error: "410", NextTime: next, GiveUp: true}))
	require.Empty(t, due(t, s, soon()))
	// What has ended stays so.
	require.NoError(t, s.NotificationFailed(ctx, n.ID, store.NotificationFailure{NextTime: next}))
	require.NoError(t, s.NotificationSent(ctx, n.ID))
	require.Empty(t, due(t, s, soon()))
}

func ordersNotifications(t *testing.T, s store.Store) {
	a, b, c := task.NewID(), task.NewID(), task.NewID()
	put(t, s, notifying(a, 1), notifying(b, 1), notifying(c, 1))
	all := due(t, s, soon())
	late := store.NotificationFailure{NextTime: all[0].Time.Add(time.Minute)}
	require.NoError(t, s.NotificationFailed(t.Context(), all[0].ID, late))
	var order []string
	for _, n := range due(t, s, soon()) {
		order = append(order, n.DeadLetterID)
	}
	require.Equal(t, []string{b, c, a}, order)
	first, err := s.DueNotifications(t.Context(), store.BuiltInRule, soon(), 1)
	require.NoError(t, err)
	require.Len(t, first, 1)
	require.Equal(t, b, first[0].DeadLetterID)
}

package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var notificationLogRules = map[string]func(*testing.T, store.Store){
	"NotificationLog/filters":                       filtersNotifications,
	"NotificationLog/pages":                         pagesNotifications,
	"ChannelStates/how sending goes":                showsChannels,
	"NotificationTested/is noted and audited":       notesTests,
	"GiveUpNotifications/that have nowhere to go":   givesUpOthers,
	"ForgetNotifications/that have ended":           forgetsNotifications,
	"ForgetNotifications/not what a condition told": keepsConditions,
}

func filtersNotifications(t *testing.T, s store.Store) {
	ctx := t.Context()
	createRule(t, s, rule("a"))
	first, second := task.NewID(), task.NewID()
	put(t, s, notifying(first, 1), arrival(second, 1))
	failing := told(t, s)[1]
	require.NoError(t, s.NotificationFailed(ctx, failing.ID, store.NotificationFailure{Error: "e", NextTime: soon()}))
	sent := told(t, s)[0]
	require.NoError(t, s.NotificationSent(ctx, sent.ID))
	for text, want := range map[string]int{
		`state = SENT`: 1, `state = NOTIFICATION_STATE_WAITING`: 2, `state = GIVEN_UP`: 0, `rule_id = "a"`: 2, `channel = "webhook"`: 1,
		`trigger = DEAD_LETTER`: 3, `trigger = NEW_GROUP`: 0, `dead_letter_id = "` + first + `"`: 2, `group_id = "x"`: 0,
		`failed_attempts > 0`: 1, `create_time > "2026-01-01T00:00:00Z"`: 3, `rule_id = "a" AND dead_letter_id = "` + second + `"`: 1,
	} {
		f, err := store.NotificationFields.Parse(text)
		require.NoError(t, err, text)
		found, err := s.NotificationLog(ctx, f, 0, 10)
		require.NoError(t, err, text)
		require.Len(t, found, want, text)
	}
	found := told(t, s)
	require.Equal(t, store.NotificationSent, found[0].State)
	require.Zero(t, found[0].NextTime)
	require.Equal(t, "e", found[1].LastError)
	require.Equal(t, 1, found[1].Attempts)
}

func pagesNotifications(t *testing.T, s store.Store) {
	createRule(t, s, rule("a"))
	var want []string
	for range 5 {
		put(t, s, arrival(task.NewID(), 1))
	}
	for _, n := range told(t, s) {
		want = append([]string{n.ID}, want...)
	}
	var got []string
	before := int64(0)
	for {
		page, err := s.NotificationLog(t.Context(), nil, before, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, n := range page {
			got, before = append(got, n.ID), n.Sequence
		}
	}
	require.Equal(t, want, got)
}

func states(t *testing.T, s store.Store) map[string]store.ChannelState {
	t.Helper()
	all, err := s.ChannelStates(t.Context())
	require.NoError(t, err)
	byName := map[string]store.ChannelState{}
	for _, c := range all {
		byName[c.Channel] = c
	}
	require.Len(t, byName, len(all))
	return byName
}

func showsChannels(t *testing.T, s store.Store) {
	ctx := t.Context()
	require.Empty(t, states(t, s))
	r := rule("a")
	r.Channels = []string{"mail", "chat"}
	createRule(t, s, r)
	put(t, s, arrival(task.NewID(), 1))
	all := told(t, s)
	require.Equal(t, store.ChannelState{Channel: "mail", Waiting: 1, Oldest: all[0].Time}, states(t, s)["mail"])
	put(t, s, arrival(task.NewID(), 1))
	require.EqualValues(t, 2, states(t, s)["chat"].Waiting)
	require.Equal(t, all[0].Time, states(t, s)["chat"].Oldest)

	require.NoError(t, s.NotificationFailed(ctx, all[0].ID, store.NotificationFailure{Error: "503", NextTime: soon()}))
	require.NoError(t, s.NotificationSent(ctx, all[1].ID))
	mail, chat := states(t, s)["mail"], states(t, s)["chat"]
	require.NotZero(t, mail.LastFailure)
	require.Equal(t, store.ChannelState{Channel: "mail", LastFailure: mail.LastFailure, LastError: "503", Waiting: 2, Oldest: all[0].Time}, mail)
	require.NotZero(t, chat.LastSuccess)
	require.EqualValues(t, 1, chat.Waiting)
	require.NoError(t, s.NotificationSent(ctx, all[0].ID))
	mail = states(t, s)["mail"]
	require.NotZero(t, mail.LastSuccess)
	require.Equal(t, "503", mail.LastError, "of the last failure")
}

func notesTests(t *testing.T, s store.Store) {
	ctx := t.Context()
	require.NoError(t, s.NotificationTested(ctx, "mail", "", ruler))
	require.NotZero(t, states(t, s)["mail"].LastSuccess)
	require.Zero(t, states(t, s)["mail"].LastFailure)
	require.NoError(t, s.NotificationTested(ctx, "mail", "no route", ruler))
	require.Equal(t, "no route", states(t, s)["mail"].LastError)
	events := audited(t, s, store.ResourceChannel+"mail")
	require.Len(t, events, 2)
	require.Equal(t, []store.AuditChange{{Field: "error", After: "no route"}}, events[0].Changes)
	require.Equal(t, []store.AuditChange{{Field: "sent", After: "true"}}, events[1].Changes)
}

func givesUpOthers(t *testing.T, s store.Store) {
	ctx := t.Context()
	r := rule("a")
	r.Channels = []string{"mail", "gone"}
	createRule(t, s, r)
	for range 3 {
		put(t, s, arrival(task.NewID(), 1))
	}
	none, err := s.GiveUpNotifications(ctx, []string{"mail"}, epoch, 10)
	require.NoError(t, err)
	require.Zero(t, none)
	for _, want := range []int{2, 1, 0} {
		n, err := s.GiveUpNotifications(ctx, []string{"mail", "other"}, soon(), 2)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	for _, n := range told(t, s) {
		require.Equal(t, n.Channel == "gone", n.State == store.NotificationGivenUp)
		require.Equal(t, n.Channel == "gone", n.LastError != "")
	}
	n, err := s.GiveUpNotifications(ctx, nil, soon(), 10)
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

func forgetsNotifications(t *testing.T, s store.Store) {
	ctx := t.Context()
	createRule(t, s, rule("a"))
	for range 4 {
		put(t, s, arrival(task.NewID(), 1))
	}
	all := told(t, s)
	for _, n := range all[:3] {
		require.NoError(t, s.NotificationSent(ctx, n.ID))
	}
	forget := func(before time.Time, want int) {
		t.Helper()
		n, err := s.ForgetNotifications(ctx, before, 2)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	forget(all[0].Time, 0)
	forget(soon(), 2)
	forget(soon(), 1)
	forget(soon(), 0)
	require.Equal(t, all[3:], told(t, s), "what waits stays")
}

func keepsConditions(t *testing.T, s store.Store) {
	ctx := t.Context()
	r := condition(t, s, 0)
	require.True(t, measure(t, s, r, true))
	throttled := rule("a")
	throttled.Throttle = 24 * time.Hour
	createRule(t, s, throttled)
	put(t, s, arrival(task.NewID(), 1))
	n, err := s.ForgetNotifications(ctx, soon(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n, fmt.Sprint(told(t, s)))
	require.True(t, put(t, s, arrival(task.NewID(), 1))[0].Notified)
	require.False(t, measure(t, s, r, true), "it still holds, and was told")
}

package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var ruleRules = map[string]func(*testing.T, store.Store){
	"Rules/are created, shown and audited": createsRules,
	"Rules/are updated and audited":        updatesRules,
	"Rules/are deleted and audited":        deletesRules,
	"Rules/are bounded":                    boundsRules,
	"Rules/match types and codes":          matchesRules,
	"Rules/tell each channel":              tellsEachChannel,
	"Rules/hold back and count it":         holdsBack,
	"Rules/what they say counts at once":   countsAtOnce,
}

// rule is one that is told of each dead letter.
func rule(id string) store.Rule {
	return store.Rule{ID: id, Trigger: store.TriggerDeadLetter, Channels: []string{"mail"}}
}

var ruler = store.Call{Method: "AnyCall", Actor: "ann", Peer: "10.0.0.1:1", Reason: "because"}

func createRule(t *testing.T, s store.Store, r store.Rule) store.Rule {
	t.Helper()
	made, err := s.CreateRule(t.Context(), r, ruler)
	require.NoError(t, err)
	return made
}

func rules(t *testing.T, s store.Store) []store.Rule {
	t.Helper()
	all, err := s.Rules(t.Context())
	require.NoError(t, err)
	return all
}

// told are all notifications, the first one first.
func told(t *testing.T, s store.Store) []store.Notification {
	t.Helper()
	log, err := s.NotificationLog(t.Context(), nil, 0, store.MaxPage)
	require.NoError(t, err)
	for i, j := 0, len(log)-1; i < j; i, j = i+1, j-1 {
		log[i], log[j] = log[j], log[i]
	}
	return log
}

// audited is the last event of a resource.
func audited(t *testing.T, s store.Store, resource string) []store.AuditEvent {
	t.Helper()
	f, err := store.AuditFields.Parse(fmt.Sprintf("resource = %q", resource))
	require.NoError(t, err)
	events, err := s.AuditEvents(t.Context(), f, 0, 10)
	require.NoError(t, err)
	return events
}

func createsRules(t *testing.T, s store.Store) {
	require.Empty(t, rules(t, s))
	want := store.Rule{
		ID: "b", Trigger: store.TriggerRate, Types: []string{"acme.*"}, Codes: []int{13, 14}, Threshold: 5, Window: time.Hour,
		Channels: []string{"mail", "chat"}, Throttle: time.Minute, Disabled: true,
	}
	made := createRule(t, s, want)
	require.NotEmpty(t, made.Etag)
	require.NotZero(t, made.UpdateTime)
	want.Etag, want.UpdateTime = made.Etag, made.UpdateTime
	require.Equal(t, want, made)
	other := createRule(t, s, rule("a"))
	require.Equal(t, []store.Rule{other, made}, rules(t, s))
	_, err := s.CreateRule(t.Context(), rule("b"), ruler)
	require.ErrorIs(t, err, store.ErrRuleExists)

	events := audited(t, s, store.ResourceRule+"b")
	require.Len(t, events, 1)
	require.Equal(t, ruler, events[0].By)
	require.Equal(t, []store.AuditChange{
		{Field: "trigger", After: "RATE"}, {Field: "types", After: "acme.*"}, {Field: "codes", After: "INTERNAL, UNAVAILABLE"},
		{Field: "threshold", After: "5"}, {Field: "window", After: "1h0m0s"}, {Field: "channels", After: "mail, chat"},
		{Field: "throttle", After: "1m0s"}, {Field: "disabled", After: "true"},
	}, events[0].Changes)
}

func updatesRules(t *testing.T, s store.Store) {
	ctx := t.Context()
	disable := func(r store.Rule) (store.Rule, error) {
		r.Disabled = true
		return r, nil
	}
	_, err := s.UpdateRule(ctx, "a", "", disable, ruler)
	require.ErrorIs(t, err, store.ErrNoRule)
	made := createRule(t, s, rule("a"))
	_, err = s.UpdateRule(ctx, "a", made.Etag+"0", disable, ruler)
	require.ErrorIs(t, err, store.ErrEtag)
	refused := errors.New("refused")
	_, err = s.UpdateRule(ctx, "a", "", func(store.Rule) (store.Rule, error) { return store.Rule{}, refused }, ruler)
	require.ErrorIs(t, err, refused)
	require.Equal(t, []store.Rule{made}, rules(t, s))

	updated, err := s.UpdateRule(ctx, "a", made.Etag, disable, ruler)
	require.NoError(t, err)
	require.True(t, updated.Disabled)
	require.NotEqual(t, made.Etag, updated.Etag)
	require.Equal(t, []store.Rule{updated}, rules(t, s))
	same, err := s.UpdateRule(ctx, "a", "", disable, ruler)
	require.NoError(t, err)
	require.Equal(t, updated, same)
	events := audited(t, s, store.ResourceRule+"a")
	require.Len(t, events, 2)
	require.Equal(t, []store.AuditChange{{Field: "disabled", After: "true"}}, events[0].Changes)
}

func deletesRules(t *testing.T, s store.Store) {
	ctx := t.Context()
	require.ErrorIs(t, s.DeleteRule(ctx, "a", "", ruler), store.ErrNoRule)
	made := createRule(t, s, rule("a"))
	put(t, s, arrival(task.NewID(), 1))
	require.ErrorIs(t, s.DeleteRule(ctx, "a", made.Etag+"0", ruler), store.ErrEtag)
	require.NoError(t, s.DeleteRule(ctx, "a", made.Etag, ruler))
	require.Empty(t, rules(t, s))
	put(t, s, arrival(task.NewID(), 1))
	require.Len(t, told(t, s), 1, "what it has asked for stays")
	events := audited(t, s, store.ResourceRule+"a")
	require.Len(t, events, 2)
	require.Contains(t, events[0].Changes, store.AuditChange{Field: "channels", Before: "mail"})
	require.NotEqual(t, made.Etag, createRule(t, s, rule("a")).Etag, "another rule of the same id has another etag")
}

func boundsRules(t *testing.T, s store.Store) {
	for i := range store.MaxRules {
		createRule(t, s, rule(fmt.Sprintf("r%d", i)))
	}
	_, err := s.CreateRule(t.Context(), rule("more"), ruler)
	require.ErrorIs(t, err, store.ErrTooManyRules)
	_, err = s.CreateRule(t.Context(), rule("r7"), ruler)
	require.ErrorIs(t, err, store.ErrRuleExists)
	require.Len(t, rules(t, s), store.MaxRules)
}

func matchesRules(t *testing.T, s store.Store) {
	byType, byCode, both, off := rule("type"), rule("code"), rule("both"), rule("off")
	byType.Types = []string{"other", "demo.v1.*"}
	byCode.Codes = []int{14, 13}
	both.Types, both.Codes = []string{"demo.v1.*"}, []int{14}
	off.Disabled = true
	for _, r := range []store.Rule{byType, byCode, both, off} {
		createRule(t, s, r)
	}
	put(t, s, arrival(task.NewID(), 1))
	var by []string
	for _, n := range told(t, s) {
		by = append(by, n.RuleID)
	}
	require.ElementsMatch(t, []string{"type", "code"}, by)
	// A message that is no task has no code.
	require.False(t, put(t, s, foreign(task.NewID()))[0].Notified)
}

func tellsEachChannel(t *testing.T, s store.Store) {
	r := rule("a")
	r.Channels = []string{"mail", "chat"}
	createRule(t, s, r)
	id := task.NewID()
	require.True(t, put(t, s, notifying(id, 2))[0].Notified)
	require.False(t, put(t, s, arrival(id, 2))[0].Notified)
	require.False(t, put(t, s, arrival(id, 1))[0].Notified)
	var channels []string
	ids := map[string]bool{}
	for _, n := range told(t, s) {
		require.Equal(t, id, n.DeadLetterID)
		require.Equal(t, 2, n.Run)
		channels, ids[n.ID] = append(channels, n.Channel), true
	}
	require.ElementsMatch(t, []string{store.BuiltInRule, "mail", "chat"}, channels)
	require.Len(t, ids, 3)
	for _, channel := range channels {
		due, err := s.DueNotifications(t.Context(), channel, soon(), 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		require.Equal(t, channel, due[0].Channel)
	}
}

func holdsBack(t *testing.T, s store.Store) {
	r := rule("a")
	r.Throttle = 24 * time.Hour
	createRule(t, s, r)
	require.True(t, put(t, s, arrival(task.NewID(), 1))[0].Notified)
	second := task.NewID()
	require.False(t, put(t, s, arrival(second, 1))[0].Notified)
	for range 2 {
		require.False(t, put(t, s, arrival(task.NewID(), 1))[0].Notified)
	}
	all := told(t, s)
	require.Len(t, all, 2)
	require.Equal(t, second, all[1].DeadLetterID)
	require.Equal(t, all[0].Time.Add(r.Throttle), all[1].NextTime, "it is told at the end of the throttle")
	require.Equal(t, all[1].NextTime, all[1].Time)
	throttle := func(d time.Duration) {
		_, err := s.UpdateRule(t.Context(), "a", "", func(r store.Rule) (store.Rule, error) {
			r.Throttle = d
			return r, nil
		}, ruler)
		require.NoError(t, err)
	}
	throttle(time.Microsecond)
	require.True(t, put(t, s, arrival(task.NewID(), 1))[0].Notified)
	throttle(24 * time.Hour)
	require.False(t, put(t, s, arrival(task.NewID(), 1))[0].Notified)
	var held []int64
	for _, n := range told(t, s) {
		held = append(held, n.HeldBack)
	}
	require.Equal(t, []int64{0, 2, 0, 0}, held)
}

func countsAtOnce(t *testing.T, s store.Store) {
	put(t, s, arrival(task.NewID(), 1))
	createRule(t, s, rule("a"))
	require.True(t, put(t, s, arrival(task.NewID(), 1))[0].Notified)
	createRule(t, s, rule("b"))
	put(t, s, arrival(task.NewID(), 1))
	require.Len(t, told(t, s), 3)
	_, err := s.UpdateRule(t.Context(), "a", "", func(r store.Rule) (store.Rule, error) {
		r.Types = []string{"none"}
		return r, nil
	}, ruler)
	require.NoError(t, err)
	put(t, s, arrival(task.NewID(), 1))
	require.Len(t, told(t, s), 4)
}

package notify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func another(t *testing.T, s store.Store, change func(*store.Arrival)) {
	t.Helper()
	a := arrival(1)
	a.ID = task.NewID()
	a.Occurrence.DeadTime = time.Now()
	change(&a)
	putQuietly(t, s, a)
}

func asIs(*store.Arrival) {}

func TestConditionsAreMeasured(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for name, c := range map[string]struct {
		rule store.Rule
		// holds is whether it does with three dead letters, one of which is two hours old
		// and of another type.
		holds bool
		found store.Measured
	}{
		"rate":              {store.Rule{Trigger: store.TriggerRate, Threshold: 2, Window: hour}, true, store.Measured{Count: 3, Threshold: 2, Window: hour}},
		"rate not reached":  {store.Rule{Trigger: store.TriggerRate, Threshold: 3, Window: hour}, false, store.Measured{}},
		"rate of a type":    {store.Rule{Trigger: store.TriggerRate, Threshold: 2, Window: hour, Types: []string{"acme.*"}}, false, store.Measured{}},
		"count":             {store.Rule{Trigger: store.TriggerCount, Threshold: 2}, true, store.Measured{Count: 3, Threshold: 2}},
		"count not reached": {store.Rule{Trigger: store.TriggerCount, Threshold: 3}, false, store.Measured{}},
		"count of a type":   {store.Rule{Trigger: store.TriggerCount, Threshold: 1, Types: []string{"old.*"}}, false, store.Measured{}},
		"count of a code":   {store.Rule{Trigger: store.TriggerCount, Threshold: 2, Codes: []int{14}}, true, store.Measured{Count: 3, Threshold: 2}},
		"age":               {store.Rule{Trigger: store.TriggerOldestAge, Window: hour}, true, store.Measured{Window: hour}},
		"age not reached":   {store.Rule{Trigger: store.TriggerOldestAge, Window: 3 * hour}, false, store.Measured{}},
		"age of a type":     {store.Rule{Trigger: store.TriggerOldestAge, Window: hour, Types: []string{"acme.*"}}, false, store.Measured{}},
		"disabled":          {store.Rule{Trigger: store.TriggerCount, Disabled: true}, false, store.Measured{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			n := New(s, nil, nil, quiet)
			c.rule.ID, c.rule.Channels = "rule", []string{"mail"}
			_, err := s.CreateRule(t.Context(), c.rule, store.Call{})
			require.NoError(t, err)
			require.NoError(t, n.measureAll(t.Context(), time.Now()))
			another(t, s, asIs)
			another(t, s, asIs)
			another(t, s, func(a *store.Arrival) {
				a.Type, a.Occurrence.DeadTime = "old.v1.X", time.Now().Add(-2*hour)
			})
			for range 2 {
				require.NoError(t, n.measureAll(t.Context(), time.Now()))
			}
			// A service that is started again finds what was told.
			require.NoError(t, New(s, nil, nil, quiet).measureAll(t.Context(), time.Now()))
			log, err := s.NotificationLog(t.Context(), nil, 0, 10)
			require.NoError(t, err)
			if !c.holds {
				require.Empty(t, log)
				return
			}
			require.Len(t, log, 1)
			if c.rule.Trigger == store.TriggerOldestAge {
				require.GreaterOrEqual(t, log[0].Measured.Age, 2*hour)
				c.found.Age = log[0].Measured.Age
			}
			require.Equal(t, c.found, log[0].Measured)
		})
	}
}

func TestAConditionIsToldAgainWhenItBeginsAgain(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	n := New(s, nil, nil, quiet)
	_, err := s.CreateRule(t.Context(), store.Rule{
		ID: "rate", Trigger: store.TriggerRate, Threshold: 0, Window: time.Minute, Channels: []string{"mail"},
	}, store.Call{})
	require.NoError(t, err)
	another(t, s, asIs)
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(10 * time.Minute), now} {
		require.NoError(t, n.measureAll(t.Context(), at))
	}
	log, err := s.NotificationLog(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Len(t, log, 2)
}

func TestAConditionIsSent(t *testing.T) {
	t.Parallel()
	s, hook, chat := openStore(t), newReceiver(t, http.StatusOK), newChatServer(t, http.StatusOK)
	w, err := NewWebhook(hook.URL, secret, false)
	require.NoError(t, err)
	for trigger, window := range map[store.Trigger]time.Duration{store.TriggerCount: 0, store.TriggerOldestAge: time.Hour} {
		_, err := s.CreateRule(t.Context(), store.Rule{
			ID: fmt.Sprintf("rule-%d", trigger), Trigger: trigger, Window: window, Channels: []string{store.BuiltInRule, "chat"},
			Types: []string{"acme.*", "b"}, Codes: []int{14},
		}, store.Call{})
		require.NoError(t, err)
	}
	another(t, s, func(a *store.Arrival) { a.Occurrence.DeadTime = time.Now().Add(-90 * time.Minute) })
	serve(t, s, w.Channel(), chat.channel(t, "chat"))
	brokertest.Eventually(t, patience, func() bool { return len(hook.all()) == 2 && len(chat.all()) == 2 })
	types := map[string]map[string]any{}
	for _, x := range hook.all() {
		require.NoError(t, x.signature)
		var e struct {
			Type string
			Data map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(x.body), &e))
		types[e.Type] = e.Data
	}
	require.EqualValues(t, 1, types["rule.count"]["count"])
	require.Equal(t, "acme.*, b with UNAVAILABLE", types["rule.count"]["scope"])
	require.Equal(t, "rule-5", types["rule.count"]["rule_id"])
	require.GreaterOrEqual(t, types["rule.oldest_age"]["age_seconds"], float64(5400))
	require.EqualValues(t, 3600, types["rule.oldest_age"]["window_seconds"])
	require.Contains(t, chat.all()[0]+chat.all()[1], "OPEN dead letters of acme.*, b with UNAVAILABLE: 1, more than 0 (rule rule-5)")
}

func TestTestIsSentOnceAndNoted(t *testing.T) {
	t.Parallel()
	s, hook, broken := openStore(t), newReceiver(t, http.StatusOK), newChatServer(t, http.StatusTeapot)
	w, err := NewWebhook(hook.URL, secret, false)
	require.NoError(t, err)
	n := New(s, []*Channel{w.Channel(), broken.channel(t, "chat")}, nil, quiet)
	t.Cleanup(w.close)
	by := store.Call{Method: "TestNotification", Actor: "ann"}
	problem, _, err := n.Test(t.Context(), store.BuiltInRule, "hello", by)
	require.NoError(t, err)
	require.Empty(t, problem)
	require.Contains(t, hook.all()[0].body, `"type":"test"`)
	require.Contains(t, hook.all()[0].body, `{"text":"hello"}`)
	problem, took, err := n.Test(t.Context(), "chat", "", by)
	require.NoError(t, err)
	require.Contains(t, problem, "418")
	require.NotContains(t, problem, "t0ken")
	require.Positive(t, took)
	require.Len(t, broken.all(), 1)
	_, _, err = n.Test(t.Context(), "other", "", by)
	require.ErrorIs(t, err, ErrNoChannel)
	events, err := s.AuditEvents(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 2)
}

func TestOldNotificationsAreForgotten(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	watching(t, s, store.TriggerDeadLetter, "gone")
	putQuietly(t, s, arrival(1))
	n := New(s, nil, nil, quiet)
	state := func() []store.Notification {
		log, err := s.NotificationLog(t.Context(), nil, 0, 10)
		require.NoError(t, err)
		return log
	}
	require.NoError(t, n.cleanUp(t.Context(), time.Now()))
	require.Equal(t, store.NotificationWaiting, state()[0].State)
	require.NoError(t, n.cleanUp(t.Context(), time.Now().Add(giveUp+time.Minute)))
	require.Equal(t, store.NotificationGivenUp, state()[0].State)
	require.NoError(t, n.cleanUp(t.Context(), time.Now().Add(kept+time.Minute)))
	require.Empty(t, state())
}

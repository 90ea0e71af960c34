package storetest

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var resourceRules = map[string]func(*testing.T, store.Store){
	"Resource/is made once by a request":              madeOnce,
	"Resource/begins, resolves and skips its members": beginsMembers,
	"Resource/moves by what was handled":              movesByHandled,
	"Resource/follows its canary":                     followsCanary,
	"Resource/is aborted above its ratio":             abortsAboveRatio,
	"Resource/waits until it is started":              waitsForStart,
	"Resource/begins nothing while it is paused":      pauses,
	"Resource/takes back what was not sent":           takesBack,
	"Resource/is changed with its etag":               changesPlan,
	"Resource/pages items in their order":             pagesItems,
	"Resource/lists the last one first":               listsReplays,
	"Resource/reopens what is overdue":                reopens,
	"Resource/any sequence of events":                 anyEvents,
}

// dying stores so many dead letters, and selects them.
func dying(t test, s store.Store, n int) ([]string, store.Selection) {
	t.Helper()
	ids := make([]string, n)
	arrivals := make([]store.Arrival, n)
	for i := range ids {
		ids[i] = task.NewID()
		arrivals[i] = arrival(ids[i], 1)
	}
	put(t, s, arrivals...)
	set, err := s.Select(t.Context(), store.FreezeRequest{IDs: ids})
	require.NoError(t, err)
	require.Len(t, set.Members, n)
	return ids, set
}

var operator = store.Call{Method: "CreateReplay", Actor: "unauthenticated", Peer: "10.0.0.1:1", Reason: "mended", Trace: "00-a-b-01"}

func create(t test, s store.Store, set store.Selection, p store.Plan) store.Replay {
	t.Helper()
	r, err := s.CreateReplay(t.Context(), store.NewReplay{Selector: []byte("{}"), Selection: set, Plan: p, By: operator})
	require.NoError(t, err)
	requireAddsUp(t, r)
	return r
}

func requireAddsUp(t test, r store.Replay) {
	t.Helper()
	c := r.Counts
	require.Equal(t, c.Total, c.Pending+c.InFlight+c.Succeeded+c.FailedAgain+c.Cancelled+c.Skipped+c.Unknown, "%+v", c)
	require.GreaterOrEqual(t, min(c.Pending, c.InFlight, c.Unknown), int64(0))
}

func replayNow(t test, s store.Store, id string) store.Replay {
	t.Helper()
	r, err := s.Replay(t.Context(), id)
	require.NoError(t, err)
	requireAddsUp(t, r)
	return r
}

// ready is the next members' candidates as items that are READY.
func ready(t test, s store.Store, r store.Replay, n int) store.Begin {
	t.Helper()
	members, err := s.ReplayMembers(t.Context(), r.ID)
	require.NoError(t, err)
	all, err := s.Candidates(t.Context(), members[r.Handled:min(r.Handled+n, len(members))])
	require.NoError(t, err)
	b := store.Begin{ReplayID: r.ID, Handled: r.Handled}
	for i := range all {
		d := &all[i].DeadLetter
		b.Items = append(b.Items, store.BeginItem{
			Sequence: d.Sequence, DeadLetterID: d.ID, Etag: d.Etag, Verdict: store.VerdictReady, IntentID: uuid.NewString(),
			Run: max(d.Run, all[i].Begun) + 1, Revision: 1,
		})
	}
	return b
}

func begin(t test, s store.Store, b store.Begin) ([]bool, store.Replay) {
	t.Helper()
	begun, r, err := s.BeginItems(t.Context(), b)
	require.NoError(t, err)
	require.Equal(t, replayNow(t, s, b.ReplayID), r)
	return begun, r
}

// succeed ends the second run of a task well.
func succeed(t test, s store.Store, id string) {
	t.Helper()
	resolved, err := s.ResolveAll(t.Context(), []store.Ended{{DeadLetterID: id, Run: 2, Outcome: store.OutcomeSucceeded}, {DeadLetterID: task.NewID(), Run: 1}})
	require.NoError(t, err)
	require.Equal(t, []bool{true, false}, resolved)
}

func items(t test, s store.Store, id string, states ...store.ItemState) []store.ReplayItem {
	t.Helper()
	page, err := s.ReplayItems(t.Context(), store.ItemQuery{ReplayID: id, States: states, Limit: store.MaxPage})
	require.NoError(t, err)
	require.Zero(t, page.Next)
	return page.Items
}

func steer(t test, s store.Store, id string, action store.SteerAction) store.Replay {
	t.Helper()
	r, err := s.SteerReplay(t.Context(), store.Steering{ReplayID: id, Action: action, By: store.Call{Method: "Steer", Actor: "me", Reason: "why"}})
	require.NoError(t, err)
	requireAddsUp(t, r)
	return r
}

func madeOnce(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 3)
	plan := store.Plan{MaxPerSecond: 2.5, MaxInFlight: 7, Canary: 2, AbortRatio: 0.5, MaxAttempts: 3, Expiry: store.ExpiryKept, Revision: 1}
	set.Missing = []string{task.NewID()}
	n := store.NewReplay{RequestID: "r", RequestHash: []byte{1}, Selector: []byte(`{"a":1}`), Selection: set, Plan: plan, By: operator}
	made, err := s.CreateReplay(t.Context(), n)
	require.NoError(t, err)
	require.Equal(t, store.ReplayCounts{Total: 3, Pending: 3}, made.Counts)
	require.Equal(t, store.ReplayCanary, made.State)
	require.Equal(t, []any{plan, n.Selector, set.Digest, set.Missing}, []any{made.Plan, made.Selector, made.Digest, made.Missing})
	want := operator
	want.Peer = ""
	require.Equal(t, want, made.By)
	require.Equal(t, made, replayNow(t, s, made.ID))
	require.True(t, made.StartTime.IsZero() && made.EndTime.IsZero() && !made.CreateTime.IsZero())

	again, err := s.CreateReplay(t.Context(), n)
	require.NoError(t, err)
	require.Equal(t, made, again)
	again, err = s.ReplayOf(t.Context(), "r", []byte{1})
	require.NoError(t, err)
	require.Equal(t, made, again)
	n.RequestHash = []byte{2}
	_, err = s.CreateReplay(t.Context(), n)
	var taken *store.RequestIDError
	require.ErrorAs(t, err, &taken)
	require.ErrorIs(t, err, store.ErrRequestID)
	require.Equal(t, made.ID, taken.ReplayID)
	_, err = s.ReplayOf(t.Context(), "other", []byte{1})
	require.ErrorIs(t, err, store.ErrNoReplay)
	for _, id := range []string{task.NewID(), "x", ids[0]} {
		_, err = s.Replay(t.Context(), id)
		require.ErrorIs(t, err, store.ErrNoReplay)
	}
	events, err := s.AuditEvents(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, store.ResourceReplay+made.ID, events[0].Resource)
	require.Equal(t, operator.Peer, events[0].By.Peer)
}

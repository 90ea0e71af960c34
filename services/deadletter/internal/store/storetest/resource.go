package storetest

import (
	"testing"
	"time"

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

func beginsMembers(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 6)
	r := create(t, s, set, store.Plan{MaxInFlight: 10})
	b := ready(t, s, r, 6)
	require.Equal(t, []byte{'p', 0, 1}, bodyOf(t, s, set.Members[:1]))
	expire := at(1000)
	b.Items[0].MaxAttempts, b.Items[0].ExpireTime = 4, expire
	b.Items[1].Verdict, b.Items[1].Message = store.VerdictExpired, "late"
	b.Items[2].Verdict, b.Items[2].Message = store.VerdictAlreadySucceeded, "it has"
	b.Items[2].Run = 1
	discard(t, s, ids[3])
	replay(t, s, ids[4], 2)
	put(t, s, arrival(ids[5], 2))
	begun, r := begin(t, s, b)
	require.Equal(t, []bool{true, false, false, false, false, false}, begun)
	require.Equal(t, store.ReplayCounts{Total: 6, InFlight: 1, Skipped: 5}, r.Counts)
	require.False(t, r.StartTime.IsZero())

	var verdicts []store.Verdict
	for i, item := range items(t, s, r.ID) {
		require.Equal(t, ids[i], item.DeadLetterID)
		require.False(t, item.BeginTime.IsZero())
		verdicts = append(verdicts, item.Verdict)
		if item.Verdict == store.VerdictInReplay {
			require.Contains(t, item.Message, "a replay by")
		}
	}
	require.Equal(t, []store.Verdict{
		0, store.VerdictExpired, store.VerdictAlreadySucceeded, store.VerdictWrongState, store.VerdictInReplay, store.VerdictChanged,
	}, verdicts)
	require.Equal(t, store.StateResolved, get(t, s, ids[2]).State)
	require.Equal(t, store.StateOpen, get(t, s, ids[1]).State)
	d := get(t, s, ids[0])
	require.Equal(t, []any{store.StateInReplay, r.ID, 1, "mended"}, []any{d.State, d.ReplayID, d.ReplayCount, d.OperatorReason})
	holder, err := s.Holder(t.Context(), ids[0])
	require.NoError(t, err)
	require.Equal(t, store.Holder{Actor: operator.Actor, ReplayID: r.ID, Since: d.UpdateTime}, holder)

	pending, err := s.Intents(t.Context(), store.IntentPending, 0, 10)
	require.NoError(t, err)
	require.Len(t, pending, 2)
	i := pending[1]
	require.Equal(t, store.Intent{
		ID: b.Items[0].IntentID, Sequence: i.Sequence, DeadLetterID: ids[0], Run: 2, State: store.IntentPending, Time: d.UpdateTime, Reason: "mended",
		Call: operator.Trace, Publishes: 1, ReplayID: r.ID, MaxAttempts: 4, ExpireTime: expire, Revision: 1,
	}, i)
	require.NoError(t, s.MarkSent(t.Context(), []store.Sent{{IntentID: i.ID, Published: true}, {IntentID: uuid.NewString()}}))
	requireIntents(t, s, 1, 1, 0)
	succeed(t, s, ids[0])
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayCompleted, r.State)
	require.Equal(t, store.ReplayCounts{Total: 6, Succeeded: 1, Skipped: 5}, r.Counts)
	require.False(t, r.EndTime.IsZero())
	require.Empty(t, get(t, s, ids[0]).ReplayID)
	ended := items(t, s, r.ID, store.ItemSucceeded)
	require.Len(t, ended, 1)
	require.False(t, ended[0].EndTime.IsZero())
}

func bodyOf(t test, s store.Store, members []store.Member) []byte {
	all, err := s.Candidates(t.Context(), members)
	require.NoError(t, err)
	require.NotEmpty(t, all[0].DeadLetter.Template)
	require.Len(t, all[0].DeadLetter.Occurrences, 1)
	return all[0].DeadLetter.Message.Body
}

func movesByHandled(t *testing.T, s store.Store) {
	_, set := dying(t, s, 3)
	r := create(t, s, set, store.Plan{MaxInFlight: 10})
	b := ready(t, s, r, 1)
	begin(t, s, b)
	for _, handled := range []int{0, 2, -1} {
		b.Handled = handled
		_, _, err := s.BeginItems(t.Context(), b)
		require.ErrorIs(t, err, store.ErrMoved)
	}
	r = replayNow(t, s, r.ID)
	tooMany := ready(t, s, r, 2)
	tooMany.Items = append(tooMany.Items, tooMany.Items[0])
	_, _, err := s.BeginItems(t.Context(), tooMany)
	require.ErrorIs(t, err, store.ErrMoved)
	require.Equal(t, r, replayNow(t, s, r.ID))
	_, _, err = s.BeginItems(t.Context(), store.Begin{ReplayID: task.NewID()})
	require.ErrorIs(t, err, store.ErrNoReplay)
}

func followsCanary(t *testing.T, s store.Store) {
	for _, dies := range []bool{false, true} {
		ids, set := dying(t, s, 4)
		r := create(t, s, set, store.Plan{MaxInFlight: 10, Canary: 2})
		b := ready(t, s, r, 3)
		b.Items[0].Verdict = store.VerdictHeld
		_, r = begin(t, s, b)
		require.Equal(t, store.ReplayCanary, r.State)
		succeed(t, s, ids[1])
		require.Equal(t, store.ReplayCanary, replayNow(t, s, r.ID).State)
		if dies {
			put(t, s, arrival(ids[2], 2))
			r = replayNow(t, s, r.ID)
			require.Equal(t, store.ReplayAborted, r.State)
			require.Contains(t, r.StateReason, "canary")
			require.Equal(t, store.ReplayCounts{Total: 4, Pending: 1, Succeeded: 1, FailedAgain: 1, Skipped: 1}, r.Counts)
			require.False(t, r.EndTime.IsZero())
			_, _, err := s.BeginItems(t.Context(), ready(t, s, r, 1))
			require.ErrorIs(t, err, store.ErrMoved)
			continue
		}
		succeed(t, s, ids[2])
		require.Equal(t, store.ReplayRunning, replayNow(t, s, r.ID).State)
	}
}

func abortsAboveRatio(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 12)
	r := create(t, s, set, store.Plan{MaxInFlight: 20, AbortRatio: 0.5})
	begin(t, s, ready(t, s, r, 11))
	for i, id := range ids[:11] {
		require.Equal(t, store.ReplayRunning, replayNow(t, s, r.ID).State, "%d have ended", i)
		if i < 4 || i == 9 {
			succeed(t, s, id)
			continue
		}
		put(t, s, arrival(id, 2)) // 5 of 10 are not more than the half
	}
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayAborted, r.State)
	require.EqualValues(t, 6, r.Counts.FailedAgain)
	require.EqualValues(t, 1, r.Counts.Pending)
}

func waitsForStart(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 1)
	r := create(t, s, set, store.Plan{MaxInFlight: 1, Delay: time.Hour, Canary: 1})
	require.Equal(t, store.ReplayPending, r.State)
	require.Equal(t, r.CreateTime.Add(time.Hour), r.DueTime)
	_, _, err := s.BeginItems(t.Context(), ready(t, s, r, 1))
	require.ErrorIs(t, err, store.ErrMoved)
	require.Equal(t, store.StateOpen, get(t, s, ids[0]).State)
	for range 2 {
		r, err = s.StartReplay(t.Context(), r.ID)
		require.NoError(t, err)
		require.Equal(t, store.ReplayCanary, r.State)
	}
}

func pauses(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 2)
	r := create(t, s, set, store.Plan{MaxInFlight: 2})
	b := ready(t, s, r, 1)
	begin(t, s, b)
	for range 2 {
		r = steer(t, s, r.ID, store.SteerPause)
		require.Equal(t, store.ReplayPaused, r.State)
		require.Equal(t, "why", r.StateReason)
	}
	_, _, err := s.BeginItems(t.Context(), ready(t, s, r, 1))
	require.ErrorIs(t, err, store.ErrMoved)
	requireIntents(t, s, 0, 0, 0) // it is not to be published
	_, err = s.MarkPublishing(t.Context(), b.Items[0].IntentID)
	require.ErrorIs(t, err, store.ErrNotPending)
	for range 2 {
		r = steer(t, s, r.ID, store.SteerResume)
		require.Equal(t, store.ReplayRunning, r.State)
	}
	requireIntents(t, s, 1, 0, 0)
	steer(t, s, r.ID, store.SteerPause)
	succeed(t, s, ids[0])
	require.Equal(t, store.ReplayPaused, replayNow(t, s, r.ID).State)
	events, err := s.AuditEvents(t.Context(), nil, 0, 100)
	require.NoError(t, err)
	require.Len(t, events, 4, "of the calls that changed something")
	require.Equal(t, []store.AuditChange{{Field: "state", Before: "RUNNING", After: "PAUSED"}}, events[0].Changes)
}

func takesBack(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 4)
	r := create(t, s, set, store.Plan{MaxInFlight: 4})
	b := ready(t, s, r, 3)
	begin(t, s, b)
	was := get(t, s, ids[0])
	require.NoError(t, s.MarkSent(t.Context(), []store.Sent{{IntentID: b.Items[0].IntentID}, {IntentID: b.Items[0].IntentID}}))
	require.Equal(t, store.StateInReplay, get(t, s, ids[0]).State, "it is published later")
	r = steer(t, s, r.ID, store.SteerCancel)
	require.Equal(t, store.ReplayCancelled, r.State)
	require.Equal(t, store.ReplayCounts{Total: 4, Pending: 2, InFlight: 2}, r.Counts)
	d := get(t, s, ids[0])
	require.Equal(t, []any{store.StateOpen, "", 0}, []any{d.State, d.ReplayID, d.ReplayCount})
	require.Greater(t, d.Change, was.Change)
	// One that is known later not to have been sent is taken back then.
	require.NoError(t, s.MarkSent(t.Context(), []store.Sent{{IntentID: b.Items[1].IntentID}, {IntentID: b.Items[2].IntentID, Published: true}}))
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayCounts{Total: 4, Pending: 3, InFlight: 1}, r.Counts)
	require.True(t, r.EndTime.IsZero())
	require.Len(t, items(t, s, r.ID, store.ItemPending), 3)
	succeed(t, s, ids[2])
	r = replayNow(t, s, r.ID)
	require.False(t, r.EndTime.IsZero())
	require.Equal(t, store.ReplayCancelled, r.State)
	require.Equal(t, r, steer(t, s, r.ID, store.SteerCancel), "once more is as it is")
	for _, action := range []store.SteerAction{store.SteerPause, store.SteerResume, store.SteerUpdate} {
		_, err := s.SteerReplay(t.Context(), store.Steering{ReplayID: r.ID, Action: action})
		var ended *store.ReplayEndedError
		require.ErrorAs(t, err, &ended)
		require.Equal(t, store.ReplayCancelled, ended.State)
	}
	// The run may be begun again, since no message of it is in a queue.
	_, i := replay(t, s, ids[0], 2)
	require.Equal(t, 2, i.Run)
}

func changesPlan(t *testing.T, s store.Store) {
	_, set := dying(t, s, 1)
	r := create(t, s, set, store.Plan{MaxInFlight: 4, MaxPerSecond: 1})
	rate := 7.5
	x := store.Steering{ReplayID: r.ID, Action: store.SteerUpdate, MaxPerSecond: &rate, Etag: "other", By: operator}
	_, err := s.SteerReplay(t.Context(), x)
	require.ErrorIs(t, err, store.ErrEtag)
	x.Etag = r.Etag
	changed, err := s.SteerReplay(t.Context(), x)
	require.NoError(t, err)
	require.Equal(t, store.Plan{MaxInFlight: 4, MaxPerSecond: rate}, changed.Plan)
	require.NotEqual(t, r.Etag, changed.Etag)
	_, err = s.SteerReplay(t.Context(), x)
	require.ErrorIs(t, err, store.ErrEtag)
	_, err = s.SteerReplay(t.Context(), store.Steering{ReplayID: task.NewID(), Action: store.SteerPause})
	require.ErrorIs(t, err, store.ErrNoReplay)
}

func pagesItems(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 7)
	r := create(t, s, set, store.Plan{MaxInFlight: 7})
	b := ready(t, s, r, 4)
	b.Items[1].Verdict = store.VerdictHeld
	begin(t, s, b)
	put(t, s, arrival(ids[2], 2))
	succeed(t, s, ids[3])
	paged := func(limit int, states ...store.ItemState) (all []store.ReplayItem) {
		for from := 0; ; {
			page, err := s.ReplayItems(t.Context(), store.ItemQuery{ReplayID: r.ID, States: states, From: from, Limit: limit})
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Items), limit)
			all = append(all, page.Items...)
			if from = page.Next; from == 0 {
				return all
			}
		}
	}
	states := func(all []store.ReplayItem) (of []store.ItemState) {
		for _, i := range all {
			require.Equal(t, ids[i.Position], i.DeadLetterID)
			of = append(of, i.State)
		}
		return of
	}
	const flies, failed, done, skipped, waits = store.ItemInFlight, store.ItemFailedAgain, store.ItemSucceeded, store.ItemSkipped, store.ItemPending
	for limit := 1; limit < 9; limit++ {
		require.Equal(t, []store.ItemState{flies, skipped, failed, done, waits, waits, waits}, states(paged(limit)))
		require.Equal(t, []store.ItemState{skipped, failed}, states(paged(limit, failed, skipped)))
		require.Equal(t, []store.ItemState{flies, waits, waits, waits}, states(paged(limit, flies, waits)))
		require.Equal(t, []store.ItemState{done}, states(paged(limit, done, store.ItemUnknown)))
	}
	_, err := s.ReplayItems(t.Context(), store.ItemQuery{ReplayID: task.NewID(), Limit: 1})
	require.ErrorIs(t, err, store.ErrNoReplay)
}

func listsReplays(t *testing.T, s store.Store) {
	_, set := dying(t, s, 1)
	var made []store.Replay
	for range 3 {
		made = append(made, create(t, s, set, store.Plan{MaxInFlight: 1}))
	}
	steer(t, s, made[1].ID, store.SteerCancel)
	ids := func(q store.ReplayQuery) (ids []string) {
		page, err := s.Replays(t.Context(), q)
		require.NoError(t, err)
		for _, r := range page {
			ids = append(ids, r.ID)
		}
		return ids
	}
	require.Equal(t, []string{made[2].ID, made[1].ID}, ids(store.ReplayQuery{Limit: 2}))
	require.Equal(t, []string{made[0].ID}, ids(store.ReplayQuery{Limit: 2, Before: made[1].Sequence}))
	require.Equal(t, []string{made[2].ID, made[0].ID}, ids(store.ReplayQuery{Limit: 9, Active: true}))
	f, err := store.ReplayFields.Parse(`state = "CANCELLED" AND actor = "unauthenticated" AND reason:"mend"`)
	require.NoError(t, err)
	require.Equal(t, []string{made[1].ID}, ids(store.ReplayQuery{Limit: 9, Filter: f}))
}

func reopens(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 2)
	r := create(t, s, set, store.Plan{MaxInFlight: 2})
	begin(t, s, ready(t, s, r, 2))
	_, err := s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], By: operator})
	var early *store.NotOverdueError
	require.ErrorAs(t, err, &early)
	require.Equal(t, get(t, s, ids[0]).UpdateTime.Add(store.OverdueAfter), early.Time)
	_, err = s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], Etag: "other", Force: true})
	require.ErrorIs(t, err, store.ErrEtag)
	d, err := s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], Force: true, By: operator})
	require.NoError(t, err)
	require.Equal(t, store.StateOpen, d.State)
	require.Empty(t, d.ReplayID)
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayCounts{Total: 2, InFlight: 1, Unknown: 1}, r.Counts)
	_, err = s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], Force: true, By: operator})
	require.ErrorIs(t, err, store.ErrNotOpen)

	// What was begun and given up is not begun again, and its outcome holds.
	_, i := replay(t, s, ids[0], 2)
	require.Equal(t, 3, i.Run)
	put(t, s, arrival(ids[0], 3))
	require.Equal(t, store.StateOpen, get(t, s, ids[0]).State)
	require.Equal(t, store.ItemUnknown, items(t, s, r.ID)[0].State, "for good")

	d, err = s.Reopen(t.Context(), store.ReopenRequest{ID: ids[1], Force: true, By: operator})
	require.NoError(t, err)
	require.Equal(t, store.StateOpen, d.State)
	put(t, s, arrival(ids[1], 2))
	require.Equal(t, 2, get(t, s, ids[1]).Run)
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayCounts{Total: 2, Unknown: 2}, r.Counts)
	require.Equal(t, store.ReplayCompleted, r.State)
}

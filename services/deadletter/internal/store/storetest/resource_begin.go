package storetest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

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

package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// resource is what a store should make of a replay.
type resource struct {
	s   store.Store
	id  string
	ids []string
	// plan is what decides about its state.
	plan store.Plan
	// items are the states of all members; handled are the first ones that were begun or
	// skipped.
	items   []store.ItemState
	handled int
	// sent are intents by item, runs those that were begun.
	intents map[int]string
	// unsent are begun items whose message is not sent yet.
	unsent map[int]bool
	runs   []int
	state  store.ReplayState
	before store.ReplayState
}

// anyEvents does anything to a replay and its dead letters, in any order, and compares
// what it becomes with the model.
func anyEvents(t *testing.T, s store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 14).Draw(t, "members")
		m := &resource{s: s, items: make([]store.ItemState, n), runs: make([]int, n), intents: map[int]string{}, unsent: map[int]bool{}}
		m.plan = store.Plan{
			MaxInFlight: 100, Canary: rapid.IntRange(0, 3).Draw(t, "canary"), AbortRatio: rapid.SampledFrom([]float64{0, 0.3, 0.9}).Draw(t, "ratio"),
		}
		var set store.Selection
		m.ids, set = dying(t, s, n)
		for i := range m.items {
			m.items[i], m.runs[i] = store.ItemPending, 1
		}
		r := create(t, s, set, m.plan)
		m.id, m.state = r.ID, r.State
		actions := []func(*rapid.T){m.begin, m.begin, m.begin, m.end, m.end, m.end, m.notSent, m.steer, m.reopen}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			actions[rapid.IntRange(0, len(actions)-1).Draw(t, "action")](t)
			m.settle()
			m.compare(t)
		}
	})
}

func (m *resource) begin(t *rapid.T) {
	r := replayNow(t, m.s, m.id)
	b := ready(t, m.s, r, rapid.IntRange(1, 4).Draw(t, "items"))
	for i := range b.Items {
		b.Items[i].Verdict = rapid.SampledFrom([]store.Verdict{
			store.VerdictReady, store.VerdictReady, store.VerdictReady, store.VerdictHeld, store.VerdictAlreadySucceeded,
		}).Draw(t, "verdict")
	}
	begun, _, err := m.s.BeginItems(t.Context(), b)
	if !m.state.Begins() {
		require.ErrorIs(t, err, store.ErrMoved)
		return
	}
	require.NoError(t, err)
	for i, item := range b.Items {
		require.Equal(t, item.Verdict == store.VerdictReady, begun[i])
		m.items[m.handled] = store.ItemSkipped
		if begun[i] {
			m.items[m.handled], m.intents[m.handled], m.runs[m.handled] = store.ItemInFlight, item.IntentID, item.Run
		}
		m.handled++
	}
}

// flying draws an item that is in flight; false if there is none.
func (m *resource) flying(t *rapid.T) (int, bool) {
	var all []int
	for i, s := range m.items {
		if s == store.ItemInFlight {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(all).Draw(t, "item"), true
}

func (m *resource) end(t *rapid.T) {
	i, ok := m.flying(t)
	if !ok {
		return
	}
	to := rapid.SampledFrom([]store.ItemState{store.ItemSucceeded, store.ItemSucceeded, store.ItemFailedAgain, store.ItemCancelled}).Draw(t, "outcome")
	outcome := store.OutcomeSucceeded
	switch to {
	case store.ItemFailedAgain:
		put(t, m.s, arrival(m.ids[i], m.runs[i]))
	case store.ItemCancelled:
		outcome = store.OutcomeCancelled
		fallthrough
	default:
		resolved, err := m.s.Resolve(t.Context(), m.ids[i], m.runs[i], outcome)
		require.NoError(t, err)
		require.True(t, resolved)
	}
	m.items[i] = to
	delete(m.unsent, i)
}

func (m *resource) notSent(t *rapid.T) {
	if i, ok := m.flying(t); ok {
		require.NoError(t, m.s.MarkSent(t.Context(), []store.Sent{{IntentID: m.intents[i]}}))
		m.unsent[i] = true
	}
}

func (m *resource) reopen(t *rapid.T) {
	if i, ok := m.flying(t); ok {
		_, err := m.s.Reopen(t.Context(), store.ReopenRequest{ID: m.ids[i], Force: true})
		require.NoError(t, err)
		m.items[i] = store.ItemUnknown
		delete(m.unsent, i)
	}
}

func (m *resource) steer(t *rapid.T) {
	action := rapid.SampledFrom([]store.SteerAction{store.SteerPause, store.SteerResume, store.SteerResume, store.SteerCancel}).Draw(t, "steer")
	_, err := m.s.SteerReplay(t.Context(), store.Steering{ReplayID: m.id, Action: action})
	if m.state.Over() && (m.state != store.ReplayCancelled || action != store.SteerCancel) {
		require.ErrorIs(t, err, store.ErrReplayEnded)
		return
	}
	require.NoError(t, err)
	switch {
	case action == store.SteerPause && m.state != store.ReplayPaused:
		m.before, m.state = m.state, store.ReplayPaused
	case action == store.SteerResume && m.state == store.ReplayPaused:
		m.state = m.before
	case action == store.SteerCancel:
		m.state = store.ReplayCancelled
	}
}

func (m *resource) count(states ...store.ItemState) (n int) {
	for _, s := range m.items {
		for _, wanted := range states {
			if s == wanted {
				n++
			}
		}
	}
	return n
}

// settle is what the states of the items mean for the replay.
func (m *resource) settle() {
	bad := m.count(store.ItemFailedAgain, store.ItemCancelled, store.ItemUnknown)
	failed, ended := m.count(store.ItemFailedAgain), bad+m.count(store.ItemSucceeded)
	if m.state == store.ReplayCanary {
		if bad > 0 {
			m.state = store.ReplayAborted
		} else if m.count(store.ItemSucceeded) >= m.plan.Canary {
			m.state = store.ReplayRunning
		}
	}
	if m.state.Begins() && m.plan.AbortRatio > 0 && ended >= 10 && float64(failed)/float64(ended) > m.plan.AbortRatio {
		m.state = store.ReplayAborted
	}
	if m.state == store.ReplayAborted || m.state == store.ReplayCancelled {
		for i := range m.unsent {
			m.items[i] = store.ItemPending
			delete(m.unsent, i)
		}
	}
	if !m.state.Over() && m.count(store.ItemPending, store.ItemInFlight) == 0 {
		m.state = store.ReplayCompleted
	}
}

func (m *resource) compare(t *rapid.T) {
	r := replayNow(t, m.s, m.id)
	require.Equal(t, m.state, r.State, r.StateReason)
	require.Equal(t, m.handled, r.Handled)
	n := func(s store.ItemState) int64 { return int64(m.count(s)) }
	require.Equal(t, store.ReplayCounts{
		Total: int64(len(m.items)), Pending: n(store.ItemPending), InFlight: n(store.ItemInFlight), Succeeded: n(store.ItemSucceeded),
		FailedAgain: n(store.ItemFailedAgain), Cancelled: n(store.ItemCancelled), Skipped: n(store.ItemSkipped), Unknown: n(store.ItemUnknown),
	}, r.Counts)
	require.Equal(t, m.state.Over() && r.Counts.InFlight == 0, !r.EndTime.IsZero())
	for i, item := range items(t, m.s, m.id) {
		require.Equal(t, i, item.Position)
		require.Equal(t, m.items[i], item.State)
		d := get(t, m.s, m.ids[i])
		held := item.State == store.ItemInFlight
		require.Equal(t, held, d.State == store.StateInReplay)
		require.Equal(t, held, d.ReplayID == m.id)
	}
}

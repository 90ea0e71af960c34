package storetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// model is what a store should make of one dead letter.
type model struct {
	s  store.Store
	id string
	// taskType is its own, so that its policy is.
	taskType string
	// replays, held and the policy are as operators have set them; purgedRun is the
	// highest known when it was purged, -1 for none, and tombstone what was left then.
	replays, maxReplays int
	held, typeHeld      bool
	purgedRun           int
	tombstone           store.DeadLetter
	// arrivals are those that were not dropped.
	arrivals []store.Arrival
	state    store.State
	// run is the highest that died, closedBy the one that was replayed or ended
	// well or was given up last.
	run, closedBy int
	// changes counts the changes, all of which are audited.
	changes int
	intent  *store.Intent
	// revisions are the payloads once one was revised.
	revisions []store.Revision
}

// anySequence does anything to a dead letter, in any order, and compares what
// it becomes with the model.
func anySequence(t *testing.T, s store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		id := task.NewID()
		m := &model{s: s, id: id, taskType: "t" + id, purgedRun: -1, maxReplays: 10}
		m.put(t)
		actions := []func(*rapid.T){
			m.put, m.put, m.replay, m.replay, m.resolve, m.resolveNow, m.discard, m.markPublishing, m.markPublished,
			m.replay, m.bulk, m.bulk, m.bulk, m.setPolicy, m.expire, m.revise,
		}
		for range rapid.IntRange(1, 16).Draw(t, "steps") {
			actions[rapid.IntRange(0, len(actions)-1).Draw(t, "action")](t)
			m.compare(t)
		}
	})
}

func (m *model) put(t *rapid.T) {
	run := rapid.IntRange(1, max(5, m.run+2)).Draw(t, "run")
	under := m.intent != nil && m.intent.State != store.IntentDone
	kind, ended := m.arrive(run), 0
	if under && m.intent.State == store.IntentDone {
		ended = 1
	}
	require.Equal(t, []store.Change{{ID: m.id, Kind: kind, State: m.state, Run: run, ReplaysEnded: ended}}, put(t, m.s, m.arrival(run)))
}

// arrival is the death of one of its task's runs.
func (m *model) arrival(run int) store.Arrival {
	a := arrival(m.id, run)
	a.Type = m.taskType
	return a
}

func (m *model) arrive(run int) store.ChangeKind {
	if run <= m.purgedRun {
		return store.ChangeNone
	}
	for i := range m.arrivals {
		if m.arrivals[i].Occurrence.Run == run {
			return store.ChangeNone
		}
	}
	m.arrivals = append(m.arrivals, m.arrival(run))
	m.changes++
	higher := run > m.run
	m.run = max(m.run, run)
	reopens := false
	switch m.state {
	case 0:
		m.state = store.StateOpen
		return store.ChangeCreated
	case store.StateOpen, store.StateDiscarded, store.StateQuarantined, store.StatePurged:
		reopens = higher
	case store.StateInReplay:
		reopens = higher && run >= m.closedBy
	case store.StateResolved:
		reopens = higher && run > m.closedBy
	}
	if !reopens {
		return store.ChangeHistory
	}
	m.state = store.StateOpen
	if m.maxReplays > 0 && m.replays >= m.maxReplays {
		m.state = store.StateQuarantined
	}
	m.end(store.OutcomeDeadLettered)
	return store.ChangeDiedAgain
}

func (m *model) end(o store.Outcome) {
	if m.intent != nil && m.intent.State != store.IntentDone {
		m.intent.State, m.intent.Outcome = store.IntentDone, o
	}
}

// change expects that a call worked just if the dead letter was OPEN, or in another
// state that fits, and its etag right.
func (m *model) change(t *rapid.T, err error, etagOK bool, to store.State, run int, or ...store.State) bool {
	switch {
	case m.state != store.StateOpen && !slices.Contains(or, m.state):
		var notOpen *store.NotOpenError
		require.ErrorAs(t, err, &notOpen)
		require.ErrorIs(t, err, store.ErrNotOpen)
		require.Equal(t, m.state, notOpen.State)
		return false
	case !etagOK:
		require.ErrorIs(t, err, store.ErrEtag)
		return false
	case to != store.StateResolved && (m.held || m.typeHeld):
		require.ErrorIs(t, err, store.ErrHeld)
		return false
	}
	require.NoError(t, err)
	m.state, m.closedBy = to, run
	m.changes++
	return true
}

// etag draws none, the right one or a wrong one.
func (m *model) etag(t *rapid.T) (etag string, right bool) {
	d := get(t, m.s, m.id)
	etag = rapid.SampledFrom([]string{"", d.Etag, d.Etag + "0", "x"}).Draw(t, "etag")
	return etag, etag == "" || etag == d.Etag
}

func (m *model) replay(t *rapid.T) {
	etag, right := m.etag(t)
	run := rapid.IntRange(m.run-1, m.run+3).Draw(t, "run")
	d, i, err := m.s.BeginReplay(t.Context(), store.ReplayRequest{ID: m.id, Etag: etag, Run: run, By: store.Call{Reason: "why", Trace: "00-a-b-01"}})
	if m.state == store.StateOpen && right && !m.held && !m.typeHeld && run <= m.run {
		require.ErrorIs(t, err, store.ErrRun)
		return
	}
	if m.change(t, err, right, store.StateInReplay, run) {
		m.replays++
		require.Equal(t, basic(get(t, m.s, m.id)), d)
		require.Equal(t, store.Intent{
			ID: i.ID, Sequence: i.Sequence, DeadLetterID: m.id, Run: run, State: store.IntentPending, Time: d.UpdateTime, Reason: "why", Call: "00-a-b-01",
			Revision: max(1, len(m.revisions)),
		}, i)
		m.intent = &i
	}
}

func (m *model) resolveNow(t *rapid.T) {
	etag, right := m.etag(t)
	run := rapid.IntRange(0, m.run+2).Draw(t, "run")
	_, err := m.s.ResolveNow(t.Context(), store.ResolveRequest{ID: m.id, Etag: etag, Run: run})
	m.change(t, err, right, store.StateResolved, max(run, m.run), store.StateQuarantined)
}

func (m *model) discard(t *rapid.T) {
	etag, right := m.etag(t)
	_, err := m.s.Discard(t.Context(), store.DiscardRequest{ID: m.id, Etag: etag, By: store.Call{Reason: "why"}})
	m.change(t, err, right, store.StateDiscarded, m.run, store.StateQuarantined)
}

func (m *model) revise(t *rapid.T) {
	was := get(t, m.s, m.id)
	etag, right := m.etag(t)
	payload := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "payload")
	_, made, err := m.s.Revise(t.Context(), store.ReviseRequest{ID: m.id, Etag: etag, Payload: payload, Diff: "diff", By: store.Call{Reason: "why"}})
	if m.change(t, err, right && etag != "", m.state, m.closedBy, store.StateQuarantined) {
		if len(m.revisions) == 0 {
			m.revisions = []store.Revision{original(was.Message.Body)}
		}
		want := store.NewRevision(len(m.revisions)+1, payload, "diff", store.Call{Reason: "why"})
		want.Time = made.Time
		require.Equal(t, want, made)
		m.revisions = append(m.revisions, made)
	}
}

func (m *model) resolve(t *rapid.T) {
	run := rapid.IntRange(max(1, m.closedBy-1), m.closedBy+1).Draw(t, "run")
	outcome := rapid.SampledFrom([]store.Outcome{store.OutcomeSucceeded, store.OutcomeCancelled}).Draw(t, "outcome")
	resolved, err := m.s.Resolve(t.Context(), m.id, run, outcome)
	require.NoError(t, err)
	require.Equal(t, m.state == store.StateInReplay && run == m.closedBy, resolved)
	if resolved {
		m.state = store.StateResolved
		m.changes++
		m.end(outcome)
	}
}

func (m *model) markPublishing(t *rapid.T) {
	if m.intent == nil {
		return
	}
	i, err := m.s.MarkPublishing(t.Context(), m.intent.ID)
	if m.intent.State != store.IntentPending {
		require.ErrorIs(t, err, store.ErrNotPending)
		return
	}
	require.NoError(t, err)
	m.intent.Publishes++
	require.Equal(t, *m.intent, i)
}

func (m *model) markPublished(t *rapid.T) {
	if m.intent == nil {
		return
	}
	require.NoError(t, m.s.MarkPublished(t.Context(), m.intent.ID))
	if m.intent.State == store.IntentPending {
		m.intent.State = store.IntentPublished
	}
}

func (m *model) compare(t *rapid.T) {
	d := get(t, m.s, m.id)
	requireSame(t, m.want(), d)
	require.Equal(t, m.replays, d.ReplayCount)
	m.comparePayload(t, &d)
	entries, err := m.s.Audit(t.Context(), m.id)
	require.NoError(t, err)
	require.Len(t, entries, m.changes)
	require.Equal(t, m.state, entries[len(entries)-1].To)
	for i := range entries[1:] {
		require.Equal(t, entries[i].To, entries[i+1].From)
		require.Greater(t, entries[i+1].Sequence, entries[i].Sequence)
	}
	change, err := m.s.LatestChange(t.Context())
	require.NoError(t, err)
	require.Equal(t, change, d.Change)
	m.compareIntent(t)
}

// comparePayload compares the last payload, of which a tombstone has none.
func (m *model) comparePayload(t *rapid.T, d *store.DeadLetter) {
	last, ok, err := m.s.Payload(t.Context(), d.Sequence, 0)
	require.NoError(t, err)
	require.Equal(t, m.state != store.StatePurged, ok)
	if n := len(m.revisions); n > 0 {
		require.Equal(t, m.revisions[n-1].Payload, last)
	} else if ok {
		require.Equal(t, d.Message.Body, last)
	}
}

func (m *model) compareIntent(t *rapid.T) {
	if m.intent == nil {
		return
	}
	intents, err := m.s.Intents(t.Context(), m.intent.State, m.intent.Sequence-1, 1)
	require.NoError(t, err)
	require.Equal(t, []store.Intent{*m.intent}, intents)
	if m.state == store.StateInReplay {
		require.NotEqual(t, store.IntentDone, m.intent.State)
		return
	}
	require.Equal(t, store.IntentDone, m.intent.State)
}

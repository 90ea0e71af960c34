package storetest

import (
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// want is the dead letter as it should be.
func (m *model) want() store.DeadLetter {
	if m.state == store.StatePurged {
		d := m.tombstone
		d.OnHold = m.held
		return d
	}
	d := whole(m.state, m.arrivals...)
	d.OnHold, d.Revision, d.Revisions = m.held, max(1, len(m.revisions)), m.revisions
	if m.purgedRun >= 0 {
		d.OccurrenceCount += m.tombstone.OccurrenceCount
		if m.tombstone.FirstDeadTime.Before(d.FirstDeadTime) {
			d.FirstDeadTime = m.tombstone.FirstDeadTime
		}
	}
	return d
}

// purged forgets all but the tombstone.
func (m *model) purged() {
	m.tombstone = tombstone(m.want())
	m.state, m.replays, m.arrivals, m.revisions = store.StatePurged, 0, nil, nil
	m.purgedRun = m.run
	if m.tombstone.State = store.StatePurged; m.closedBy > m.purgedRun {
		m.purgedRun = m.closedBy
	}
	m.changes++
}

// bulk does something with it as with one of many.
func (m *model) bulk(t *rapid.T) {
	action := rapid.SampledFrom([]store.BulkAction{
		store.BulkDiscard, store.BulkRestore, store.BulkPurge, store.BulkPurge, store.BulkHold, store.BulkRelease,
	}).Draw(t, "bulk")
	r := request(action, member(t, m.s, m.id))
	if r.Versioned = rapid.Bool().Draw(t, "versioned"); rapid.Bool().Draw(t, "stale") {
		r.Members[0].Version++
	}
	stale := r.Versioned && r.Members[0].Version != member(t, m.s, m.id).Version
	was := m.state
	judged, err := m.s.JudgeMembers(t.Context(), r)
	require.NoError(t, err)
	answer, err := m.s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, judged, answer.Items)
	require.Equal(t, []store.BulkItem{{ID: m.id, State: was, Obstacle: m.obstacle(action, stale)}}, answer.Items)
	if answer.Items[0].Obstacle == store.ObstacleNone {
		m.apply(action)
	}
}

// obstacle is what the contract says, in words of its own.
func (m *model) obstacle(action store.BulkAction, stale bool) store.Obstacle {
	fits := map[store.BulkAction]bool{
		store.BulkDiscard: m.state == store.StateOpen || m.state == store.StateQuarantined,
		store.BulkRestore: m.state == store.StateDiscarded || m.state == store.StateQuarantined,
		store.BulkPurge:   m.state == store.StateDiscarded || m.state == store.StateResolved,
		store.BulkHold:    m.state != store.StatePurged,
		store.BulkRelease: m.state != store.StatePurged,
	}[action]
	so := map[store.BulkAction]bool{store.BulkHold: m.held, store.BulkRelease: !m.held}[action]
	kept := map[store.BulkAction]bool{store.BulkDiscard: true, store.BulkPurge: true}[action] && (m.held || m.typeHeld)
	switch {
	case !fits && m.state == store.StateInReplay:
		return store.ObstacleInReplay
	case stale:
		return store.ObstacleChanged
	case !fits:
		return store.ObstacleState
	case kept:
		return store.ObstacleHeld
	case so:
		return store.ObstacleDone
	}
	return store.ObstacleNone
}

func (m *model) apply(action store.BulkAction) {
	switch action {
	case store.BulkDiscard:
		m.state, m.closedBy = store.StateDiscarded, m.run
		m.changes++
	case store.BulkRestore:
		m.state, m.replays = store.StateOpen, 0
		m.changes++
	case store.BulkPurge:
		m.purged()
	case store.BulkHold, store.BulkRelease:
		m.held = action == store.BulkHold
		m.changes++
	}
}

func (m *model) setPolicy(t *rapid.T) {
	m.maxReplays = rapid.IntRange(0, 3).Draw(t, "max_replays")
	m.typeHeld = rapid.Bool().Draw(t, "hold")
	hold := int64(0)
	if m.typeHeld {
		hold = 1
	}
	setPolicy(t, m.s, m.taskType, store.Settings{store.PolicyMaxReplays: int64(m.maxReplays), store.PolicyHold: hold})
}

// expire ends the retention of a state, but for tombstones: with those nothing is left
// to compare.
func (m *model) expire(t *rapid.T) {
	state := rapid.SampledFrom([]store.State{
		store.StateOpen, store.StateQuarantined, store.StateResolved, store.StateDiscarded,
	}).Draw(t, "state")
	field, _ := store.RetentionOf(state)
	setPolicy(t, m.s, m.taskType, store.Settings{field: atOnce})
	defer setPolicy(t, m.s, m.taskType, store.Settings{field: 0})
	var expired []store.Expired
	want := []store.Expired{{ID: m.id, Type: m.taskType, State: state}}
	if m.state != state || m.held || m.typeHeld {
		want = nil
	}
	for began := time.Now(); ; {
		expired = append(expired, round(t, m.s)...)
		if len(expired) >= len(want) || time.Since(began) > time.Minute {
			break
		}
	}
	require.Equal(t, want, expired)
	if len(want) > 0 {
		m.purged()
	}
}

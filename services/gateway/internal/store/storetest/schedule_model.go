package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// laterTask is a task that waits for its time, as the store should have it.
type laterTask struct {
	due     time.Time
	message []byte
	// until is when its last lease ends.
	until time.Time
}

// laterModel is what a store has of tasks for later. Its time begins with that of
// the tests.
type laterModel struct {
	now     time.Time
	waits   map[string]*laterTask
	updates map[string]int64
	turn    int
}

func (m *laterModel) leased(id string) bool { return m.waits[id].until.After(m.now) }

// anyLater compares a store with the model through any tasks that are put in, put
// off, taken and forgotten while time passes.
func anyLater(t *testing.T, s store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		m := &laterModel{now: time.Now().Add(time.Hour).Truncate(time.Microsecond).UTC(), waits: map[string]*laterTask{}, updates: map[string]int64{}}
		t.Repeat(map[string]func(*rapid.T){
			"schedule":   func(t *rapid.T) { m.schedule(t, s) },
			"take":       func(t *rapid.T) { m.take(t, s) },
			"unschedule": func(t *rapid.T) { m.unschedule(t, s) },
			"update":     func(t *rapid.T) { m.update(t, s) },
			"time passes": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) { requireCount(t, s, "", len(m.waits)) },
		})
		m.requireSame(t, s)
		require.NoError(t, s.Unschedule(t.Context(), slices.Collect(maps.Keys(m.waits))))
	})
}

func (m *laterModel) some(t *rapid.T) string {
	if len(m.updates) == 0 {
		t.Skip("no tasks")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.updates))).Draw(t, "task")
}

// due draws a time around now; several tasks have the same.
func (m *laterModel) due(t *rapid.T) time.Time {
	return m.now.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "due")) * 20 * time.Second)
}

func (m *laterModel) message() []byte {
	m.turn++
	return fmt.Appendf(nil, "message %d", m.turn)
}

func (m *laterModel) schedule(t *rapid.T, s store.Store) {
	var batch []store.Scheduled
	for range rapid.IntRange(1, 3).Draw(t, "tasks") {
		id := task.NewID()
		w := &laterTask{due: m.due(t), message: m.message()}
		m.waits[id], m.updates[id] = w, 0
		one := scheduled(id, w.due)
		one.Message = w.message
		batch = append(batch, one)
	}
	require.Len(t, schedule(t, s, batch...), len(batch))
	require.Empty(t, schedule(t, s, batch...))
}

func (m *laterModel) take(t *rapid.T, s store.Store) {
	limit := rapid.IntRange(1, 4).Draw(t, "limit")
	var due []string
	var next time.Time
	sooner := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for id, w := range m.waits {
		switch {
		case m.leased(id):
			sooner(w.until)
		case w.due.After(m.now):
			sooner(w.due)
		default:
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		return cmp.Or(m.waits[a].due.Compare(m.waits[b].due), cmp.Compare(a, b))
	})
	if len(due) > limit {
		next, due = m.waits[due[limit]].due, due[:limit]
	} else if len(due) > 0 {
		sooner(m.now.Add(time.Minute))
	}
	got, gotNext := take(t, s, m.now, limit)
	var want []store.Due
	for _, id := range due {
		w := m.waits[id]
		want = append(want, store.Due{TaskID: id, Type: taskType, Message: w.message, Again: !w.until.IsZero()})
		w.until = m.now.Add(time.Minute)
	}
	require.Equal(t, want, got)
	require.Equal(t, next, gotNext)
}

func (m *laterModel) unschedule(t *rapid.T, s store.Store) {
	id := m.some(t)
	require.NoError(t, s.Unschedule(t.Context(), []string{id}))
	delete(m.waits, id)
}

// update puts a task off that was never leased.
func (m *laterModel) update(t *rapid.T, s store.Store) {
	id := m.some(t)
	e, message := updatedTo(id, m.updates[id]+1, m.due(t)), m.message()
	_, err := s.Update(t.Context(), m.updates[id]+1, e, message)
	w := m.waits[id]
	if w == nil || !w.until.IsZero() {
		require.ErrorIs(t, err, store.ErrChanged)
		return
	}
	require.NoError(t, err)
	m.updates[id]++
	w.due, w.message = e.ScheduleTime, message
}

func (m *laterModel) requireSame(t *rapid.T, s store.Store) {
	for id, updates := range m.updates {
		w := m.waits[id]
		message, err := s.ScheduledMessage(t.Context(), id)
		if w == nil {
			require.ErrorIs(t, err, store.ErrNotFound)
		} else {
			require.NoError(t, err)
			require.True(t, bytes.Equal(w.message, message))
		}
		got, err := s.Task(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, updates, got.UpdateSequence)
		if w != nil {
			require.Equal(t, w.due, got.ScheduleTime)
		}
	}
	requireCount(t, s, taskType, len(m.waits))
}

package storetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var nextQueuedRules = map[string]func(*testing.T, store.Store){
	"NextQueued/goes on from where it was":     nextQueuedGoesOn,
	"NextQueued/among many tasks that are not": nextQueuedAmongMany,
	"NextQueued/of every type":                 nextQueuedOfAll,
	"CountRetrying/by type":                    countsRetrying,
}

func nextQueued(t *testing.T, s store.Store, from string) store.NextQueued {
	t.Helper()
	found, err := s.NextQueued(t.Context(), taskType, from)
	require.NoError(t, err)
	return found
}

func nextQueuedGoesOn(t *testing.T, s store.Store) {
	require.Equal(t, store.NextQueued{}, nextQueued(t, s, ""))
	ids := newIDs(t, 4)
	apply(t, s, ofType(otherType, queued(ids[0]))...)
	for i, id := range ids[1:] {
		e := queued(id)
		e.Time = at(70 - i)
		apply(t, s, e)
	}
	first, second, third := store.NextQueued{ID: ids[1], Since: at(70)}, store.NextQueued{ID: ids[2], Since: at(69)}, store.NextQueued{ID: ids[3], Since: at(68)}
	require.Equal(t, first, nextQueued(t, s, ""))
	require.Equal(t, first, nextQueued(t, s, ids[1]), "it is still there")
	apply(t, s, started(ids[1]))
	require.Equal(t, second, nextQueued(t, s, ids[1]))
	require.Equal(t, third, nextQueued(t, s, ids[3]))
	apply(t, s, started(ids[3]))
	require.Equal(t, store.NextQueued{}, nextQueued(t, s, ids[3]))
	require.Equal(t, second, nextQueued(t, s, ""))
}

// However many tasks are looked at in vain, each call ends soon and says where to go on.
func nextQueuedAmongMany(t *testing.T, s store.Store) {
	ids := newIDs(t, 6000)
	for page := range slices.Chunk(ids, 1000) {
		events := make([]task.Event, len(page))
		for i, id := range page {
			events[i] = started(id)
		}
		apply(t, s, events...)
	}
	last := task.NewID()
	apply(t, s, queued(last))
	from, found := "", nextQueued(t, s, "")
	for found.ID == "" {
		require.Greater(t, found.Next, from)
		from = found.Next
		found = nextQueued(t, s, from)
	}
	require.Equal(t, last, found.ID)
}

// One look tells of every type what one look at each would.
func nextQueuedOfAll(t *testing.T, s store.Store) {
	look := func(from string) store.NextQueued {
		found, err := s.NextQueued(t.Context(), "", from)
		require.NoError(t, err)
		return found
	}
	none := look("")
	require.Empty(t, none.Firsts)
	require.Empty(t, none.Next)
	ids := newIDs(t, 6000)
	for page := range slices.Chunk(ids, 1000) {
		events := make([]task.Event, len(page))
		for i, id := range page {
			events[i] = started(id)
		}
		apply(t, s, events...)
	}
	last := newIDs(t, 4)
	for i, id := range last {
		e := queued(id)
		e.Time = at(70 - i)
		if i%2 == 1 {
			e.Type = otherType
		}
		apply(t, s, e)
	}
	found := look("")
	for from := ""; found.Next != ""; found = look(from) {
		require.Empty(t, found.Firsts)
		require.Greater(t, found.Next, from)
		from = found.Next
	}
	first, other := store.QueuedTask{ID: last[0], Since: at(70)}, store.QueuedTask{ID: last[1], Since: at(69)}
	require.Equal(t, store.NextQueued{Firsts: map[string]store.QueuedTask{taskType: first, otherType: other}}, found)
	first = store.QueuedTask{ID: last[2], Since: at(68)}
	require.Equal(t, map[string]store.QueuedTask{taskType: first, otherType: other}, look(last[1]).Firsts)
	apply(t, s, started(last[2]))
	require.Equal(t, map[string]store.QueuedTask{otherType: other}, look(last[1]).Firsts)
	require.NotEmpty(t, look("").Next, "there is more than one look sees")
}

func countsRetrying(t *testing.T, s store.Store) {
	count := func() map[string]int64 {
		counts, err := s.CountRetrying(t.Context())
		require.NoError(t, err)
		return counts
	}
	require.Empty(t, count())
	for _, id := range newIDs(t, 3) {
		apply(t, s, queued(id), started(id), delivered(id, task.PhaseRetrying))
	}
	apply(t, s, ofType(otherType, delivered(task.NewID(), task.PhaseRetrying))...)
	require.Equal(t, map[string]int64{taskType: 3, otherType: 1}, count())
}

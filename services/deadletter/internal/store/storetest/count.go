package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var countRules = map[string]func(*testing.T, store.Store){
	"CountOpen/by type and cause":          countsOpen,
	"Put/counts the replays that it ended": countsReplays,
}

func countsOpen(t *testing.T, s store.Store) {
	count := func() []store.OpenCount {
		counts, err := s.CountOpen(t.Context())
		require.NoError(t, err)
		return counts
	}
	require.Empty(t, count())
	first, second, other, gone := arrival(task.NewID(), 1), arrival(task.NewID(), 1), arrival(task.NewID(), 1), arrival(task.NewID(), 1)
	second.Occurrence.DeadTime = first.Occurrence.DeadTime.Add(-time.Hour)
	other.Occurrence.Cause = task.CauseExpired
	stray, strayed := foreign(task.NewID()), foreign(task.NewID())
	strayed.Type = "another.key"
	put(t, s, first, second, other, gone, stray, strayed)
	discard(t, s, gone.ID)
	require.ElementsMatch(t, []store.OpenCount{
		{Cause: task.CauseUndecodable, Count: 2, Oldest: stray.Occurrence.DeadTime.UTC()},
		{Type: first.Type, Cause: first.Occurrence.Cause, Count: 2, Oldest: second.Occurrence.DeadTime.UTC()},
		{Type: first.Type, Cause: task.CauseExpired, Count: 1, Oldest: other.Occurrence.DeadTime.UTC()},
	}, count())
}

func countsReplays(t *testing.T, s store.Store) {
	id := task.NewID()
	require.Zero(t, put(t, s, arrival(id, 1))[0].ReplaysEnded)
	replay(t, s, id, 2)
	require.Equal(t, 1, put(t, s, arrival(id, 2))[0].ReplaysEnded)
	require.Zero(t, put(t, s, arrival(id, 2))[0].ReplaysEnded)
	require.Zero(t, put(t, s, arrival(id, 3))[0].ReplaysEnded)
}

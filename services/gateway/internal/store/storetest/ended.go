package storetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var endedRules = map[string]func(*testing.T, store.Store){
	"PurgeEnded/of one type":                          purgesType,
	"PurgeEnded/of all types but some":                purgesAllBut,
	"PurgeEnded/the oldest of all types first":        purgesOldestOfTypes,
	"PurgeEnded/finishes what is left of other types": purgeFinishesOthers,
}

// ofType makes events those of another type.
func ofType(taskType string, events ...task.Event) []task.Event {
	for i := range events {
		events[i].Type = taskType
	}
	return events
}

// purgeOf purges what is meant, 100 rows at most.
func purgeOf(t *testing.T, s store.Store, which store.Ended) int {
	t.Helper()
	n, err := s.PurgeEnded(t.Context(), which, 100)
	require.NoError(t, err)
	return n
}

func purgesType(t *testing.T, s store.Store) {
	other, otherEvents := endedAt(10, task.PhaseSucceeded)
	apply(t, s, ofType(otherType, otherEvents...)...)
	old, oldEvents := endedAt(11, task.PhaseSucceeded)
	apply(t, s, oldEvents...)
	recent, recentEvents := endedAt(20, task.PhaseSucceeded)
	apply(t, s, recentEvents...)
	require.Zero(t, purgeOf(t, s, store.Ended{Before: at(20), TaskType: "demo.v1.None.M"}))
	require.Equal(t, endedRows, purgeOf(t, s, store.Ended{Before: at(20), TaskType: taskType, Except: []string{taskType}}))
	requireGone(t, s, old)
	get(t, s, recent)
	get(t, s, other)
}

func purgesAllBut(t *testing.T, s store.Store) {
	const third = "demo.v1.Other.Third"
	ids := map[string]string{}
	for _, taskType := range []string{taskType, otherType, third} {
		id, events := endedAt(10, task.PhaseSucceeded)
		apply(t, s, ofType(taskType, events...)...)
		ids[taskType] = id
	}
	require.Zero(t, purgeOf(t, s, store.Ended{Before: at(20), Except: []string{third, otherType, taskType, "demo.v1.None.M"}}))
	require.Equal(t, endedRows, purgeOf(t, s, store.Ended{Before: at(20), Except: []string{taskType, third}}))
	requireGone(t, s, ids[otherType])
	require.Equal(t, endedRows, purgeOf(t, s, store.Ended{Before: at(20), Except: []string{taskType}}))
	requireGone(t, s, ids[third])
	get(t, s, ids[taskType])
}

func purgesOldestOfTypes(t *testing.T, s store.Store) {
	var ids []string
	for i := range 6 {
		id, events := endedAt(50-i, task.PhaseSucceeded)
		ids = append(ids, id)
		apply(t, s, ofType([]string{taskType, otherType, "demo.v1.Other.Third"}[i%3], events...)...)
	}
	slices.Reverse(ids)
	for i, id := range ids {
		n, err := s.PurgeEnded(t.Context(), store.Ended{Before: at(100)}, endedRows)
		require.NoError(t, err)
		require.Equal(t, endedRows, n)
		requireGone(t, s, id)
		for _, later := range ids[i+1:] {
			get(t, s, later)
		}
	}
}

func purgeFinishesOthers(t *testing.T, s store.Store) {
	id, _, rows := bigTask(t, s)
	const limit = 10
	require.Equal(t, limit, purge(t, s, at(1_000_000), limit))
	requireGone(t, s, id)
	left := rows - limit
	for left > 100 {
		left -= purgeOf(t, s, store.Ended{Before: epoch, TaskType: otherType})
	}
	require.Equal(t, left, purgeOf(t, s, store.Ended{Before: epoch, Except: []string{taskType}}))
}

package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var listRules = map[string]func(*testing.T, store.Store){
	"List/is stable while others come in":    stableList,
	"List/shows tasks as Task does":          listsTasks,
	"List/passes over purged tasks":          listsNoPurged,
	"List/keeps to its limits":               listKeepsToLimits,
	"List/ends a search when its time is up": listKeepsToTime,
	"List/by a trace that is learned late":   listsLateTrace,
	"List/of an empty store": func(t *testing.T, s store.Store) {
		require.Empty(t, filtered(t, s, ``))
		require.Empty(t, filtered(t, s, `run = 1 OR state = DEAD_LETTERED`))
	},
}

// stableList reads tasks in pages while others come in, newer ones and older
// ones, and while those change that are there.
func stableList(t *testing.T, s store.Store) {
	const there, meanwhile = 2000, 200
	ids := newIDs(t, there+meanwhile)
	var events []task.Event
	var late []string
	want := map[string]int{}
	for i, id := range ids {
		if i%(1+there/meanwhile) == 0 {
			late = append(late, id)
			continue
		}
		want[id] = 1
		events = append(events, queued(id))
	}
	apply(t, s, events...)
	done := make(chan error, 1)
	go func() {
		defer close(done)
		for i, id := range late {
			if _, err := s.Apply(t.Context(), []task.Event{queued(id), started(ids[i]), queued(task.NewID())}); err != nil {
				done <- err
				return
			}
		}
	}()
	got := map[string]int{}
	for _, id := range list(t, s, store.Query{Limit: 37}) {
		if want[id] > 0 {
			got[id]++
		}
	}
	require.NoError(t, <-done)
	require.Equal(t, want, got)
}

func listsTasks(t *testing.T, s store.Store) {
	ids := newIDs(t, 3)
	apply(t, s, queued(ids[0]), started(ids[0]), succeeded(ids[0]))
	apply(t, s, delivered(ids[1], task.PhaseDeadLettered))
	apply(t, s, numbered(ids[2], task.PhaseProgress, 1))
	for _, text := range []string{``, `type:*`} {
		page, err := s.List(t.Context(), store.Query{Filter: parse(t, text), Limit: 10})
		require.NoError(t, err)
		require.Equal(t, []task.Task{get(t, s, ids[2]), get(t, s, ids[1]), get(t, s, ids[0])}, page.Tasks)
		require.Empty(t, page.Next)
	}
}

func listsNoPurged(t *testing.T, s store.Store) {
	id, events, _ := bigTask(t, s)
	dead := task.NewID()
	apply(t, s, delivered(dead, task.PhaseDeadLettered))
	require.Equal(t, newestFirst(id, dead), filtered(t, s, ``))
	purge(t, s, at(1_000_000), 10)
	require.Equal(t, []string{dead}, filtered(t, s, ``), "it is gone at once")
	apply(t, s, events...)
	require.Equal(t, []string{dead}, filtered(t, s, `type:*`))
}

func listKeepsToLimits(t *testing.T, s store.Store) {
	ids := newIDs(t, store.MaxPage+2)
	var events []task.Event
	for _, id := range ids {
		events = append(events, queued(id))
	}
	apply(t, s, events...)
	all := newestFirst(ids...)
	for _, text := range []string{``, `run = 1`, `trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"`} {
		for limit, want := range map[int]int{-1: 1, 0: 1, 1: 1, 7: 7, store.MaxPage: store.MaxPage, 10 * store.MaxPage: store.MaxPage} {
			q := store.Query{Filter: parse(t, text), Limit: limit, Time: time.Minute}
			page, err := s.List(t.Context(), q)
			require.NoError(t, err)
			require.Len(t, page.Tasks, want)
			require.Equal(t, all[want-1], page.Next)
			q.Before = strings.ToUpper(page.Next)
			page, err = s.List(t.Context(), q)
			require.NoError(t, err)
			require.Equal(t, all[want], page.Tasks[0].ID)
		}
		page, err := s.List(t.Context(), store.Query{Filter: parse(t, text), Limit: 2, Before: ids[2]})
		require.NoError(t, err)
		require.Len(t, page.Tasks, 2)
		require.Empty(t, page.Next, "there are no more")
	}
	_, err := s.List(t.Context(), store.Query{Limit: 1, Before: "x"})
	require.Error(t, err)
}

// listKeepsToTime: a search that finds next to nothing goes on page by page.
func listKeepsToTime(t *testing.T, s store.Store) {
	ids := newIDs(t, 2000)
	var events []task.Event
	for i, id := range ids {
		e := queued(id)
		if i != 7 {
			e.Head.Labels = nil
		}
		events = append(events, e)
	}
	apply(t, s, events...)
	q := store.Query{Filter: parse(t, `labels:customer`), Limit: 10}
	page, err := s.List(t.Context(), q)
	require.NoError(t, err)
	require.Empty(t, page.Tasks)
	require.NotEmpty(t, page.Next)
	require.Less(t, page.Next, ids[len(ids)-1])
	require.Equal(t, []string{ids[7]}, list(t, s, q))
}

// listsLateTrace: a trace may be learned after its task, and a replay has one of
// its own.
func listsLateTrace(t *testing.T, s store.Store) {
	id, trace := task.NewID(), queued("").Head.TraceID
	apply(t, s, started(id))
	require.Empty(t, filtered(t, s, `trace_id = "`+trace+`"`))
	apply(t, s, queued(id))
	require.Equal(t, trace, get(t, s, id).TraceID)
	require.Equal(t, []string{id}, filtered(t, s, `trace_id = "`+trace+`"`))
	again := inRun(2, queued(id))
	again.Head.TraceID = "00000000000000000000000000000001"
	apply(t, s, again)
	now := get(t, s, id).TraceID
	require.Equal(t, []string{id}, filtered(t, s, `trace_id = "`+now+`"`))
	require.Len(t, append(filtered(t, s, `trace_id = "`+trace+`"`), filtered(t, s, `trace_id = "`+again.Head.TraceID+`"`)...), 1)
}

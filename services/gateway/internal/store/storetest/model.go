package storetest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// model is what a store should be: the join of distinct events, in memory.
type model map[string]*modelTask

type modelTask struct {
	task       task.Task
	history    []task.NumberedEvent
	purgedRun  int
	afterPurge int64 // the last number that was purged
	claims     map[int]task.Claim
}

func (m model) of(id string) *modelTask {
	t := m[id]
	if t == nil {
		t = &modelTask{claims: map[int]task.Claim{}}
		m[id] = t
	}
	return t
}

func (m model) apply(events []task.Event) []store.Change {
	var changes []store.Change
	named := map[string]int{}
	for i, e := range events {
		if _, ok := named[e.TaskID]; !ok {
			named[e.TaskID] = i
		}
		t := m.of(e.TaskID)
		was, known := t.task, len(t.history)
		if changed, progress := t.apply(e); changed {
			c := mention(&changes, t.task, progress)
			if len(t.history) > known {
				c.News.Add(&was, &t.task, &e)
			}
		}
	}
	slices.SortFunc(changes, func(a, b store.Change) int { return named[a.TaskID] - named[b.TaskID] })
	return changes
}

func (t *modelTask) apply(e task.Event) (changed, progress bool) {
	if e.Key.Run <= t.purgedRun || slices.ContainsFunc(t.history, func(h task.NumberedEvent) bool { return h.Key == e.Key }) {
		return false, false
	}
	was := t.task
	applied := t.task.Apply(&e)
	if applied.Number == 0 {
		progress = was.ProgressKey != t.task.ProgressKey
		return progress || was.Run != t.task.Run, progress
	}
	t.history = append(t.history, task.NumberedEvent{Event: e, Applied: applied})
	return true, false
}

func mention(changes *[]store.Change, t task.Task, progress bool) *store.Change {
	i := slices.IndexFunc(*changes, func(c store.Change) bool { return c.TaskID == t.ID })
	if i < 0 {
		i = len(*changes)
		*changes = append(*changes, store.Change{TaskID: t.ID, Type: t.Type})
	}
	c := &(*changes)[i]
	c.Version, c.State, c.Decided = t.Version, t.State, t.Decided
	c.Progress = c.Progress || progress
	return c
}

// purge has the store purge, and forgets those of the ended tasks that it has
// forgotten.
func (m model) purge(t *rapid.T, s store.Store, which store.Ended, limit int) {
	n, err := s.PurgeEnded(t.Context(), which, limit)
	require.NoError(t, err)
	require.LessOrEqual(t, n, limit)
	meant := func(taskType string) bool {
		if which.TaskType != "" {
			return taskType == which.TaskType
		}
		return !slices.Contains(which.Except, taskType)
	}
	for id, mt := range m {
		ended := mt.task.State == task.StateSucceeded || mt.task.State == task.StateCancelled
		if !ended || mt.task.Decided.Run != mt.task.Run {
			continue
		}
		_, err := s.Task(t.Context(), id)
		if n < limit {
			require.Equal(t, meant(mt.task.Type), errors.Is(err, store.ErrNotFound))
		}
		if errors.Is(err, store.ErrNotFound) {
			require.True(t, meant(mt.task.Type))
			maps.DeleteFunc(mt.claims, func(run int, _ task.Claim) bool { return run <= mt.task.Run })
			*mt = modelTask{
				task:      task.Task{Version: mt.task.Version},
				purgedRun: mt.task.Run, afterPurge: mt.task.Version, claims: mt.claims,
			}
		}
	}
}

// asRead returns an event as Events does.
func asRead(e task.NumberedEvent, bodies bool) task.NumberedEvent {
	if e.Key.Phase != task.PhaseUpdated {
		e.Head = nil
	}
	if e.Payload != nil {
		p := *e.Payload
		e.Payload = &p
		if !bodies {
			e.Payload.Bytes = nil
		}
	}
	if !bodies {
		e.Message = nil
	}
	return e
}

func (m model) requireSame(t *rapid.T, s store.Store) {
	ctx := t.Context()
	for id, want := range m {
		got, err := s.Task(ctx, id)
		if want.task.State == 0 {
			require.ErrorIs(t, err, store.ErrNotFound)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want.task, got)

		var events []task.NumberedEvent
		for _, e := range want.history {
			events = append(events, asRead(e, true))
		}
		_, history := want.known()
		gotEvents, err := s.Events(ctx, id, 0, store.MaxEvents, true)
		require.NoError(t, err)
		require.Equal(t, events, gotEvents)
		for i, e := range gotEvents {
			require.Equal(t, want.afterPurge+int64(i)+1, e.Number)
		}
		gotHistory, err := s.History(ctx, id)
		require.NoError(t, err)
		require.Equal(t, history, gotHistory)
	}
}

// anyHistory applies events of a few tasks of two types, in any order and
// several times, in batches of any size. Between them are purges that take a few
// rows each, and messages that ask for starts.
func anyHistory(t *testing.T, s store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		ids := []string{task.NewID(), task.NewID(), task.NewID()}
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) task.Event {
			id := rapid.SampledFrom(ids).Draw(t, "task")
			return ofType(typeOf(id, ids), event(id, drawKey(t)))[0]
		}), 1, 40).Draw(t, "events")
		events = append(events, rapid.SliceOf(rapid.SampledFrom(events)).Draw(t, "again")...)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Shuffle(len(events), func(i, j int) {
			events[i], events[j] = events[j], events[i]
		})
		m := model{}
		for len(events) > 0 {
			n := rapid.IntRange(1, len(events)).Draw(t, "batch")
			require.Equal(t, m.apply(events[:n]), applyAll(t, s, events[:n]...))
			events = events[n:]
			for range rapid.IntRange(-2, 2).Draw(t, "purges") {
				which := store.Ended{Before: at(1_000_000), TaskType: rapid.SampledFrom([]string{"", taskType, otherType}).Draw(t, "type")}
				if rapid.Bool().Draw(t, "but one type") {
					which.Except = []string{taskType}
				}
				m.purge(t, s, which, rapid.IntRange(1, 10).Draw(t, "rows"))
			}
			for range rapid.IntRange(-2, 2).Draw(t, "starts") {
				requests := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) task.StartRequest {
					return drawRequest(t, rapid.SampledFrom(ids).Draw(t, "task"))
				}), 1, 4).Draw(t, "requests")
				require.Equal(t, m.start(requests), start(t, s, requests...))
			}
			for range rapid.IntRange(-2, 2).Draw(t, "claims") {
				r := drawRequest(t, rapid.SampledFrom(ids).Draw(t, "task"))
				wantHeld, wantEnded := m.claim(r.TaskID, r.Run, r.Copy)
				requireClaim(t, s, r.TaskID, r.Run, r.Copy[0], wantHeld, wantEnded)
			}
		}
		m.requireSame(t, s)
	})
}

// drawKey draws from few enough keys that equal and similar ones meet.
func drawKey(t *rapid.T) task.Key {
	k := task.Key{
		Run:      rapid.IntRange(1, 3).Draw(t, "run"),
		Attempt:  rapid.IntRange(1, 2).Draw(t, "attempt"),
		Delivery: rapid.Int64Range(0, 2).Draw(t, "delivery"),
		Phase: rapid.SampledFrom([]task.Phase{
			task.PhaseQueued, task.PhaseStarted, task.PhaseMessage, task.PhaseRetrying, task.PhaseReleased, task.PhaseLost,
			task.PhaseDeadLettered, task.PhaseCancelled, task.PhaseSucceeded, task.PhaseProgress,
			task.PhaseScheduled, task.PhaseUpdated,
		}).Draw(t, "phase"),
		Sequence: rapid.Int64Range(0, 1).Draw(t, "sequence"),
		Copy:     task.Copy{byte(rapid.IntRange(1, 2).Draw(t, "copy"))},
	}
	if k.Phase == task.PhaseUpdated {
		k.Sequence = rapid.Int64Range(1, 4).Draw(t, "update")
	}
	return k
}

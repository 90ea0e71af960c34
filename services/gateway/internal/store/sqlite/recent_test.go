package sqlite

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/storetest"
)

// life are the events of a task that succeeds.
func life() []task.Event {
	e := task.Event{
		TaskID: task.NewID(), Type: "a.v1.A.B", Time: time.UnixMicro(1).UTC(),
		Key:  task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued, Copy: task.NewCopy()},
		Head: &task.Head{CreateTime: time.UnixMicro(1).UTC(), Priority: 4, Labels: map[string]string{"a": "b"}},
	}
	events := []task.Event{e, e, e}
	for i, phase := range []task.Phase{task.PhaseStarted, task.PhaseSucceeded} {
		events[i+1].Key.Delivery, events[i+1].Key.Phase = 1, phase
	}
	return events
}

// What a connection says of others' commits is not taken for what its
// predecessor said.
func TestNothingIsRememberedOfAnotherConnection(t *testing.T) {
	t.Parallel()
	file := EmptyFile(t)
	here, there := OpenHasty(t, file), OpenHasty(t, file)
	events := life()
	_, err := here.Apply(t.Context(), events[:1])
	require.NoError(t, err)
	_, err = there.Apply(t.Context(), events[1:2])
	require.NoError(t, err)
	// Idle connections are closed, and the next one is new.
	here.db.Writer.SetMaxIdleConns(-1)
	changes, err := here.Apply(t.Context(), events)
	require.NoError(t, err)
	require.Equal(t, []store.Change{{TaskID: events[0].TaskID, Version: 3, State: task.StateSucceeded}}, storetest.Bare(changes...))
}

// A transaction that fails leaves nothing behind in memory either.
func TestNothingIsRememberedOfAFailedTransaction(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	events, other := life(), life()
	_, err := s.Apply(t.Context(), events[:1])
	require.NoError(t, err)
	id := uuid.MustParse(events[0].TaskID)
	// The next number is taken, by the same connection.
	_, err = s.db.Writer.ExecContext(t.Context(), `INSERT INTO task_events (task_id, number, key, phase, state, correction, worker_id, cause)
VALUES (?, 2, x'00', 2, 3, 0, '', 0)`, id[:])
	require.NoError(t, err)
	_, err = s.Apply(t.Context(), append(other[:2:2], events[1]))
	require.ErrorIs(t, err, store.ErrBadEvent)
	_, err = s.db.Writer.ExecContext(t.Context(), `DELETE FROM task_events WHERE key = x'00'`)
	require.NoError(t, err)
	changes, err := s.Apply(t.Context(), append(other, events[1]))
	require.NoError(t, err)
	require.Equal(t, []store.Change{
		{TaskID: other[0].TaskID, Version: 3, State: task.StateSucceeded},
		{TaskID: events[0].TaskID, Version: 2, State: task.StateRunning},
	}, storetest.Bare(changes...))
}

func TestRecentIsBounded(t *testing.T) {
	t.Parallel()
	var r recent
	var last *entry
	for range 3 * maxRecent {
		last = &entry{id: uuid.New()}
		last.task = task.Task{ID: last.id.String(), State: task.StateQueued}
		r.keep(0, []*entry{last})
	}
	require.LessOrEqual(t, len(r.young)+len(r.old), 2*maxRecent)
	require.Equal(t, last.task, r.take(last.id).task)
	require.Nil(t, r.take(last.id))
	last.task.State = task.StateCancelled
	r.keep(0, []*entry{last})
	require.Nil(t, r.take(last.id))
	last.task.State = task.StateRunning
	r.keep(1, []*entry{last})
	require.Nil(t, r.take(last.id), "another transaction has begun")
}

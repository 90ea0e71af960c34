//go:build unix

package replay_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// revise gives a dead letter a new payload.
func (w *world) revise(t *testing.T, id, payload string) {
	t.Helper()
	d, err := w.store.Get(t.Context(), id, false)
	require.NoError(t, err)
	_, _, err = w.store.Revise(t.Context(), store.ReviseRequest{ID: id, Etag: d.Etag, Payload: []byte(payload)})
	require.NoError(t, err)
}

func TestReplayRunsTheLastRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.newTask(t)
	w.revise(t, m.ID, "second")
	w.revise(t, m.ID, "third")
	_, err := w.begin(t, m.ID)
	require.NoError(t, err)
	run(t, w.replayer.Run)
	w.awaitIntents(t, store.IntentPublished, 1)
	raw, ok := w.broker.Get(t, names.Work(taskType))
	require.True(t, ok)
	require.Equal(t, "third", string(raw.Body))
	events := w.awaitEvents(t, 1)
	require.Equal(t, "third", string(events[0].Payload.Bytes))
	require.EqualValues(t, 5, events[0].Payload.Size)
}

// A run that no queue has taken has died with the payload that it would have had.
func TestUnroutableRevisionIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := &broker.TaskMessage{ID: task.NewID(), Type: "acme.v1.ImageService.Gone", Payload: []byte("first"), Run: 1, Priority: 4, CreateTime: time.Now()}
	w.die(t, m)
	w.revise(t, m.ID, "second")
	_, err := w.begin(t, m.ID)
	require.NoError(t, err)
	run(t, w.replayer.Run)
	d := w.awaitState(t, m.ID, store.StateOpen)
	require.Equal(t, 2, d.Run)
	require.Equal(t, "second", string(d.Message.Body))
	require.Len(t, d.Revisions, 2)
	require.Equal(t, "first", string(d.Revisions[0].Payload))
}

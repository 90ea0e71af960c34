package watch

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
)

func ended(e *End) bool {
	select {
	case <-e.C:
		return true
	default:
		return false
	}
}

func TestEndIsPassedOn(t *testing.T) {
	t.Parallel()
	h := NewHub()
	a, too, b, any := h.SubscribeEnd("a"), h.SubscribeEnd("a"), h.SubscribeEnd("b"), h.Subscribe("a")
	require.True(t, h.Awaited("a"))
	require.False(t, h.Awaited("c"))
	h.News("a")
	require.True(t, woken(any))
	require.False(t, ended(a), "it goes on")

	h.Wake("a")
	require.True(t, woken(any))
	require.True(t, ended(a))
	_, ok := a.Outcome()
	require.False(t, ok, "the store has it")

	first := Outcome{State: task.StateDeadLettered, Event: &task.Event{TaskID: "a"}}
	h.Ended("a", first)
	h.Ended("a", Outcome{State: task.StateSucceeded, Event: &task.Event{TaskID: "a"}})
	for _, e := range []*End{a, too} {
		require.True(t, ended(e))
		got, ok := e.Outcome()
		require.True(t, ok)
		require.Equal(t, first.State, got.State)
		require.Same(t, first.Event, got.Event)
	}
	require.True(t, woken(any))
	require.False(t, ended(b))
	_, ok = b.Outcome()
	require.False(t, ok)

	for _, e := range []*End{a, a, too, b, nil} {
		e.Close()
	}
	require.Empty(t, h.ends)
	h.Ended("a", first)
	require.False(t, ended(a))
}

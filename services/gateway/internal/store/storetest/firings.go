package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var firingRules = map[string]func(*testing.T, store.Store){
	"PutSchedule/keeps the time that has moved on":   keepsNext,
	"Fire/keeps the last firings":                    keepsFirings,
	"PutSchedule/leaves the firings":                 leavesFirings,
	"DeleteSchedule/forgets the firings":             forgetsFirings,
	"DeleteSchedule/leaves the tasks that were made": leavesTasks,
}

func firing(n int) store.Firing {
	return store.Firing{Time: at(n), Encoded: []byte{0, byte(n), byte(n >> 8)}}
}

func keepsFirings(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(0)))
	var want []store.Firing
	for i := range store.MaxFirings + 5 {
		f := fireAt("nightly", 10*i)
		f.Task = nil
		// They come in the order in which they were recorded, whatever the clock said.
		f.Firing = firing(1000 - i)
		fire(t, s, f)
		want = append([]store.Firing{f.Firing}, want...)
	}
	got, err := s.GetSchedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, want[:store.MaxFirings], got.Firings)
}

func leavesFirings(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	fire(t, s, fireAt("nightly", 10))
	putSchedule(t, s, spec("nightly", 2, at(50)))
	requireSchedule(t, s, spec("nightly", 2, at(50), 10))
}

// keepsNext: a schedule may fire between the look at it and its change.
func keepsNext(t *testing.T, s store.Store) {
	first := spec("nightly", 1, at(10))
	first.KeepNext = true
	putSchedule(t, s, first)
	requireSchedule(t, s, spec("nightly", 1, at(10)))
	fire(t, s, store.Fire{ScheduleID: "nightly", Version: 1, Was: at(10), Next: at(20), Firing: firing(10)})
	second := spec("nightly", 2, at(10))
	second.KeepNext = true
	putSchedule(t, s, second)
	want := spec("nightly", 2, at(20), 10)
	requireSchedule(t, s, want)
	putSchedule(t, s, spec("nightly", 3, time.Time{}))
	fourth := spec("nightly", 4, at(10))
	fourth.KeepNext = true
	putSchedule(t, s, fourth)
	want.Version, want.Spec, want.Next = 4, fourth.Spec, time.Time{}
	requireSchedule(t, s, want)
}

func forgetsFirings(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	fire(t, s, fireAt("nightly", 10))
	require.NoError(t, s.DeleteSchedule(t.Context(), "nightly", 1))
	putSchedule(t, s, spec("nightly", 1, at(10)))
	requireSchedule(t, s, spec("nightly", 1, at(10)))
}

func leavesTasks(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	fire(t, s, f)
	require.NoError(t, s.DeleteSchedule(t.Context(), "nightly", 0))
	requireMessage(t, s, f.Task.Event.TaskID, f.Task.Message)
	_, err := s.Fire(t.Context(), fireAt("nightly", 20))
	require.ErrorIs(t, err, store.ErrChanged)
}

package storetest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var readRules = map[string]func(*testing.T, store.Store){
	"Read/of an unknown task is ErrNotFound":       readsUnknown,
	"Read/of a body":                               readsBody,
	"Read/of an event without a body":              readsNoBody,
	"Event/by its key":                             readsByKey,
	"Event/of a run that was purged is gone":       readsNoPurged,
	"Event/fails once the store is closed":         eventFailsWhenClosed,
	"Events/pages":                                 pages,
	"Events/keeps to the limits of their number":   keepsToMaxEvents,
	"Events/keeps to the limits of their bodies":   keepsToMaxBytes,
	"Events/without bodies":                        readsWithoutBodies,
	"Events/empty after the last":                  readsNothingNew,
	"History/has no messages":                      historyHasNoMessages,
	"History/is what the records are derived from": historyGivesRecords,
}

func readsUnknown(t *testing.T, s store.Store) {
	apply(t, s, queued(task.NewID()))
	for _, id := range []string{task.NewID(), "", "x", "' OR 1=1 --"} {
		requireGone(t, s, id)
	}
}

func readsBody(t *testing.T, s store.Store) {
	id := task.NewID()
	big := bytes.Repeat([]byte("0123456789abcdef"), 12<<20/16)
	result := succeeded(id)
	result.Message = big
	apply(t, s, queued(id), numbered(id, task.PhaseMessage, 1), result)
	for number, want := range map[int64][]byte{1: {'p', 1}, 2: {'m', 1}, 3: big} {
		got, err := s.Body(t.Context(), id, number)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
	}
}

func readsNoBody(t *testing.T, s store.Store) {
	id := task.NewID()
	omitted, empty := queued(id), succeeded(id)
	omitted.Payload.Bytes, omitted.Payload.Omitted, omitted.Payload.Size = nil, true, 1<<20
	empty.Message = nil
	apply(t, s, omitted, started(id), empty)
	for _, number := range []int64{-1, 0, 1, 2, 4} {
		_, err := s.Body(t.Context(), id, number)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	got, err := s.Body(t.Context(), id, 3)
	require.NoError(t, err)
	require.Empty(t, got)
	events := all(t, s, id)
	require.Nil(t, events[0].Payload.Bytes)
	require.True(t, events[0].Payload.Omitted)
	require.EqualValues(t, 1<<20, events[0].Payload.Size)
	require.Nil(t, events[1].Message)
	require.NotNil(t, events[2].Message)
	require.Empty(t, events[2].Message)
}

func readsByKey(t *testing.T, s store.Store) {
	id, other := task.NewID(), task.NewID()
	events := []task.Event{queued(id), started(id), numbered(id, task.PhaseMessage, 1), succeeded(id)}
	apply(t, s, append(events, queued(other))...)
	for i, want := range all(t, s, id) {
		for _, spelling := range []string{id, strings.ToUpper(id)} {
			got, err := s.Event(t.Context(), spelling, events[i].Key)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	got, err := s.Event(t.Context(), id, get(t, s, id).Decided)
	require.NoError(t, err)
	require.Equal(t, succeeded(id).Headers, got.Headers)
	for _, unknown := range []string{other, task.NewID(), "", "x"} {
		_, err := s.Event(t.Context(), unknown, succeeded(id).Key)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	_, err = s.Event(t.Context(), id, task.Key{})
	require.ErrorIs(t, err, store.ErrNotFound)
}

func readsNoPurged(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), succeeded(id))
	// A row less than there are, so that one is left.
	_, err := s.PurgeEnded(t.Context(), store.Ended{Before: at(1_000_000)}, 2)
	require.NoError(t, err)
	apply(t, s, inRun(2, queued(id)))
	for _, gone := range []task.Event{queued(id), succeeded(id)} {
		_, err := s.Event(t.Context(), id, gone.Key)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	got, err := s.Event(t.Context(), id, inRun(2, queued(id)).Key)
	require.NoError(t, err)
	require.EqualValues(t, 3, got.Number)
}

func eventFailsWhenClosed(t *testing.T, s store.Store) {
	require.NoError(t, s.Close())
	_, err := s.Event(t.Context(), task.NewID(), queued(task.NewID()).Key)
	require.ErrorIs(t, err, store.ErrUnavailable)
}

// stream makes a task that sends so many messages of a size.
func stream(id string, messages, size int) []task.Event {
	events := []task.Event{queued(id), started(id)}
	for i := range messages {
		e := numbered(id, task.PhaseMessage, int64(i+1))
		e.Message = bytes.Repeat([]byte{byte(i)}, size)
		events = append(events, e)
	}
	return events
}

func pages(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, stream(id, 8, 1)...)
	var got []int64
	for after := int64(0); ; {
		events, err := s.Events(t.Context(), id, after, 3, false)
		require.NoError(t, err)
		require.LessOrEqual(t, len(events), 3)
		if len(events) == 0 {
			break
		}
		got = append(got, numbers(events)...)
		after = events[len(events)-1].Number
	}
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, got)
	events, err := s.Events(t.Context(), id, -5, 2, false)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2}, numbers(events))
}

func keepsToMaxEvents(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, stream(id, store.MaxEvents, 1)...)
	events, err := s.Events(t.Context(), id, 0, 10*store.MaxEvents, true)
	require.NoError(t, err)
	require.Len(t, events, store.MaxEvents)
	for _, limit := range []int{0, -1} {
		events, err = s.Events(t.Context(), id, 0, limit, true)
		require.NoError(t, err)
		require.Empty(t, events)
	}
}

func keepsToMaxBytes(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, stream(id, 4, store.MaxEventBytes/2-10)...)
	huge := succeeded(id)
	huge.Message = make([]byte, store.MaxEventBytes+1)
	apply(t, s, huge)
	for _, page := range []struct {
		after int64
		want  []int64
	}{{0, []int64{1, 2, 3, 4}}, {4, []int64{5, 6}}, {6, []int64{7}}} {
		events, err := s.Events(t.Context(), id, page.after, 100, true)
		require.NoError(t, err)
		require.Equal(t, page.want, numbers(events))
	}
	events, err := s.Events(t.Context(), id, 0, 100, false)
	require.NoError(t, err)
	require.Len(t, events, 7)
}

func readsWithoutBodies(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), started(id), numbered(id, task.PhaseMessage, 1), succeeded(id))
	with := all(t, s, id)
	without, err := s.Events(t.Context(), id, 0, 10, false)
	require.NoError(t, err)
	for i := range with {
		require.Equal(t, asRead(with[i], false), without[i])
	}
	require.Nil(t, without[0].Payload.Bytes)
	require.EqualValues(t, 2, without[0].Payload.Size)
	require.Nil(t, without[3].Message)
}

func readsNothingNew(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id))
	for _, after := range []int64{1, 2, 1 << 40} {
		events, err := s.Events(t.Context(), id, after, 10, true)
		require.NoError(t, err)
		require.Empty(t, events)
	}
}

func historyHasNoMessages(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, stream(id, 5, 10)...)
	apply(t, s, succeeded(id))
	history, err := s.History(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 8}, numbers(history))
	for _, e := range history {
		require.Nil(t, e.Message)
	}
}

func historyGivesRecords(t *testing.T, s store.Store) {
	id := task.NewID()
	again := event(id, task.Key{Run: 1, Attempt: 1, Delivery: 2, Phase: task.PhaseStarted})
	dead := event(id, task.Key{Run: 1, Attempt: 1, Delivery: 2, Phase: task.PhaseDeadLettered})
	apply(t, s, queued(id), started(id), again, dead)
	history, err := s.History(t.Context(), id)
	require.NoError(t, err)
	records := task.Records(history)
	require.Equal(t, []task.Record{
		{
			Key: started(id).Key, WorkerID: "w-1", Execution: task.Execution{Host: "host-1", Version: "v1", Span: spanOf(started(id).Key)},
			StartTime: started(id).Time, Outcome: task.OutcomeLost,
		},
		{
			Key: again.Key, WorkerID: "w-1", Execution: task.Execution{Host: "host-1", Version: "v1", Redelivered: true, Span: spanOf(again.Key)},
			StartTime: again.Time, EndTime: dead.Time, Outcome: task.OutcomeTimedOut, Failure: dead.Failure, Extra: true,
			Decision: dead.Decision, Trailers: dead.Trailers,
		},
	}, records)
}

package api_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

type stream = grpc.ServerStreamingClient[deadletterv1.WatchDeadLettersResponse]

func (w *world) watch(t *testing.T, r *deadletterv1.WatchDeadLettersRequest) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s, err := w.WatchDeadLetters(ctx, r)
	require.NoError(t, err)
	return s
}

func next(t *testing.T, s stream) *deadletterv1.WatchDeadLettersResponse {
	t.Helper()
	m, err := s.Recv()
	require.NoError(t, err)
	require.NotEmpty(t, m.ResumeToken)
	return m
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(t, arrival(0))
	s := w.watch(t, &deadletterv1.WatchDeadLettersRequest{})
	begun := next(t, s)
	require.Nil(t, begun.DeadLetter, "from now on")
	id := w.put(t, arrival(1))[0]
	created := next(t, s)
	require.Equal(t, id, created.DeadLetter.DeadLetterId)
	require.Nil(t, created.DeadLetter.Message, "BASIC")
	_, err := w.store.Discard(t.Context(), store.DiscardRequest{ID: id, By: store.Call{Reason: "r"}})
	require.NoError(t, err)
	w.hub.Wake()
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_DISCARDED, next(t, s).DeadLetter.State)

	// Resumed, it shows the dead letter as it is now, once.
	again := w.watch(t, &deadletterv1.WatchDeadLettersRequest{ResumeToken: begun.ResumeToken, View: full})
	d := next(t, again).DeadLetter
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_DISCARDED, d.State)
	require.Equal(t, []byte("payload"), d.Message.Body)
	third := w.put(t, arrival(2))[0]
	require.Equal(t, third, next(t, again).DeadLetter.DeadLetterId)
}

func TestWatchFiltersAndCatchesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun := next(t, w.watch(t, &deadletterv1.WatchDeadLettersRequest{}))
	var want []string
	for n := range 350 {
		a := arrival(n % 3)
		if id := w.put(t, a)[0]; n%3 == 1 {
			want = append(want, id)
		}
	}
	s := w.watch(t, &deadletterv1.WatchDeadLettersRequest{ResumeToken: begun.ResumeToken, Filter: `labels.n = "1"`})
	var got []string
	for range want {
		got = append(got, next(t, s).DeadLetter.DeadLetterId)
	}
	require.Equal(t, want, got)
}

func TestWatchRefusesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(t, arrival(1))
	token := next(t, w.watch(t, &deadletterv1.WatchDeadLettersRequest{})).ResumeToken
	other := newWorld(t)
	for r, reason := range map[*deadletterv1.WatchDeadLettersRequest]string{
		{ResumeToken: "x"}:            "RESUME_TOKEN_INVALID",
		{ResumeToken: token}:          "RESUME_TOKEN_INVALID",
		{Filter: `colour = "red"`}:    "FILTER_INVALID",
		{ResumeToken: token + "AAAA"}: "RESUME_TOKEN_INVALID",
	} {
		_, err := other.watch(t, r).Recv()
		requireReason(t, err, codes.InvalidArgument, reason)
	}
}

func TestStopEndsWatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.watch(t, &deadletterv1.WatchDeadLettersRequest{})
	next(t, s)
	w.service.Stop()
	_, err := s.Recv()
	requireReason(t, err, codes.Unavailable, "SHUTTING_DOWN")
}

package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const full = deadletterv1.DeadLetterView_DEAD_LETTER_VIEW_FULL

func TestGetDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := arrival(1)
	id := w.put(t, a)[0]
	got, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id})
	require.NoError(t, err)
	d := got.DeadLetter
	require.Equal(t, id, d.DeadLetterId)
	require.Equal(t, id, d.TaskId)
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN, d.State)
	require.Equal(t, "CAUSE_ATTEMPTS_EXHAUSTED", d.Cause.String())
	require.EqualValues(t, 14, d.Failure.Code)
	require.Equal(t, "away", d.Failure.Message)
	require.Equal(t, "QUOTA", d.Reason)
	require.Equal(t, "attempt 3 of 3", d.Decision)
	require.EqualValues(t, []int32{1, 3, 1}, []int32{d.Run, d.Attempt, d.OccurrenceCount})
	require.Equal(t, "w", d.WorkerId)
	require.Equal(t, a.Labels, d.Labels)
	require.Equal(t, a.Occurrence.TraceID, d.TraceId)
	require.EqualValues(t, 7, d.PayloadSize)
	require.NotEmpty(t, d.Etag)
	require.Equal(t, "warren.work.acme", d.Queue)
	for what, at := range map[string]bool{"create": d.CreateTime != nil, "first": d.FirstDeadTime != nil, "dead": d.DeadTime != nil, "update": d.UpdateTime != nil} {
		require.True(t, at, what)
	}
	require.Nil(t, d.Failure.Details, "BASIC shows no details")
	require.Nil(t, d.Occurrences)
	require.Nil(t, d.Message)
	require.Nil(t, d.Payload)

	got, err = w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: full})
	require.NoError(t, err)
	d = got.DeadLetter
	require.Equal(t, []byte("d"), d.Failure.Details[0].Value)
	require.Equal(t, "type.googleapis.com/acme.v1.ResizeRequest", d.Payload.TypeUrl)
	require.Equal(t, []byte("payload"), d.Payload.Value)
	require.True(t, proto.Equal(&deadletterv1.DeadMessage{
		Body: []byte("payload"), Queue: "warren.work.acme", Exchange: "warren.tasks", RoutingKeys: []string{"acme"},
		Properties: map[string]string{"priority": "4"}, Headers: map[string]string{"h": "v"},
	}, d.Message))
	require.Len(t, d.Occurrences, 1)
	o := d.Occurrences[0]
	require.EqualValues(t, []int32{1, 2}, []int32{o.Run, o.AttemptsOmitted})
	require.Equal(t, []byte("d"), o.Failure.Details[0].Value)
	require.Len(t, o.Attempts, 1)
	require.EqualValues(t, 5, o.Attempts[0].Delivery)
	require.Equal(t, "h", o.Attempts[0].WorkerHost)
	require.Equal(t, "why", o.Attempts[0].Decision)
}

func TestForeignMessagesHaveNoTaskAndNoPayload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.put(t, foreign())[0]
	got, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: full})
	require.NoError(t, err)
	require.Empty(t, got.DeadLetter.TaskId)
	require.Nil(t, got.DeadLetter.Payload)
	require.Equal(t, []byte("garbage"), got.DeadLetter.Message.Body)
	require.Zero(t, w.types.asked)
}

func TestPayloadTypesAreAskedForOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unknown := arrival(1)
	unknown.Type = "acme.v1.Images.Gone"
	ids := w.put(t, arrival(1), arrival(2), unknown)
	for range 3 {
		for n, id := range ids {
			got, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: full})
			require.NoError(t, err)
			require.Equal(t, n == 2, got.DeadLetter.Payload == nil)
			require.NotNil(t, got.DeadLetter.Message)
		}
	}
	require.Equal(t, 2, w.types.asked)
}

func TestReplayAndDiscard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, arrival(1), arrival(2))
	replayed, err := w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: ids[0], Reason: "mended"})
	require.NoError(t, err)
	require.EqualValues(t, 2, replayed.Run)
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_IN_REPLAY, replayed.DeadLetter.State)
	require.Equal(t, "mended", replayed.DeadLetter.OperatorReason)
	discarded, err := w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: ids[1], Reason: "of no use"})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_DISCARDED, discarded.DeadLetter.State)
	require.Equal(t, "of no use", discarded.DeadLetter.OperatorReason)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, arrival(1), arrival(2), foreign())
	replay1 := func(id, etag string) error {
		_, err := w.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Etag: etag, Reason: "r"})
		return err
	}
	discard := func(id, etag, reason string) error {
		_, err := w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: id, Etag: etag, Reason: reason})
		return err
	}
	get := func(id string) error {
		_, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id})
		return err
	}
	none := task.NewID()
	require.NoError(t, discard(ids[1], "", "r"))
	requireReason(t, get(none), codes.NotFound, "DEAD_LETTER_NOT_FOUND")
	requireReason(t, get("5"), codes.InvalidArgument, "INVALID_REQUEST")
	requireReason(t, replay1(none, ""), codes.NotFound, "DEAD_LETTER_NOT_FOUND")
	requireReason(t, discard(none, "", "r"), codes.NotFound, "DEAD_LETTER_NOT_FOUND")
	requireReason(t, discard(ids[0], "", ""), codes.InvalidArgument, "INVALID_REQUEST")
	require.Equal(t, "DISCARDED", requireReason(t, replay1(ids[1], ""), codes.FailedPrecondition, "DEAD_LETTER_NOT_OPEN").Metadata["state"])
	requireReason(t, discard(ids[1], "", "r"), codes.FailedPrecondition, "DEAD_LETTER_NOT_OPEN")
	requireReason(t, replay1(ids[2], ""), codes.FailedPrecondition, "NOT_REPLAYABLE")
	requireReason(t, replay1(ids[0], "other"), codes.Aborted, "ETAG_MISMATCH")
	requireReason(t, discard(ids[0], "other", "r"), codes.Aborted, "ETAG_MISMATCH")
	w.replayer.script[ids[0]] = fmt.Errorf("%w: refused", replay.ErrGateway)
	requireReason(t, replay1(ids[0], ""), codes.Unavailable, "GATEWAY_UNAVAILABLE")
	w.replayer.script[ids[0]] = fmt.Errorf("%w: its run 3 is RUNNING", replay.ErrAlive)
	err := replay1(ids[0], "")
	require.Equal(t, "IN_REPLAY", requireReason(t, err, codes.FailedPrecondition, "DEAD_LETTER_NOT_OPEN").Metadata["state"])
	require.ErrorContains(t, err, "run 3")
	w.replayer.script[ids[0]] = fmt.Errorf("secret cause")
	err = replay1(ids[0], "")
	requireReason(t, err, codes.Internal, "INTERNAL")
	require.NotContains(t, err.Error(), "secret")

	require.NoError(t, w.store.Close())
	requireReason(t, get(ids[0]), codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{})
	requireReason(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = w.ReplayDeadLetters(t.Context(), &deadletterv1.ReplayDeadLettersRequest{Filter: `state = OPEN`, Reason: "r"})
	requireReason(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
}

func TestReplayDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var arrivals []store.Arrival
	for n := range 250 {
		arrivals = append(arrivals, arrival(n))
	}
	ids := w.put(t, arrivals...)
	odd := w.put(t, foreign())
	w.replayer.script[ids[3]] = fmt.Errorf("%w: its run 3 is RUNNING", replay.ErrAlive)
	call := func(filter string, maxItems int32, validateOnly bool) *deadletterv1.ReplayDeadLettersResponse {
		t.Helper()
		out, err := w.ReplayDeadLetters(t.Context(), &deadletterv1.ReplayDeadLettersRequest{
			Filter: filter, MaxItems: maxItems, ValidateOnly: validateOnly, Reason: "mended",
		})
		require.NoError(t, err)
		return out
	}
	out := call(`state = "OPEN"`, 10_000, true)
	require.EqualValues(t, []int64{251, 250, 0}, []int64{out.Matched, out.Replayed, out.Resolved})
	require.Len(t, out.Problems, 1)
	require.Equal(t, odd[0], out.Problems[0].DeadLetterId)
	require.Equal(t, "NOT_REPLAYABLE", out.Problems[0].Reason)
	require.EqualValues(t, codes.FailedPrecondition, out.Problems[0].Code)
	require.Zero(t, w.replayer.begun)

	out = call(`labels.n = "7"`, 0, false)
	require.EqualValues(t, []int64{1, 1}, []int64{out.Matched, out.Replayed})
	out = call(`state = "OPEN"`, 0, false)
	require.EqualValues(t, []int64{250, 99}, []int64{out.Matched, out.Replayed}, "the default of 100, one of which is alive")
	require.Equal(t, ids[3], out.Problems[0].DeadLetterId)
	oldest, err := w.store.Get(t.Context(), ids[0], false)
	require.NoError(t, err)
	require.Equal(t, store.StateInReplay, oldest.State, "the oldest first")
	out = call(`type = "acme.*"`, 10_000, false)
	require.EqualValues(t, []int64{150, 149}, []int64{out.Matched, out.Replayed})

	_, err = w.ReplayDeadLetters(t.Context(), &deadletterv1.ReplayDeadLettersRequest{Filter: "colour = 1", Reason: "r"})
	requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
	_, err = w.ReplayDeadLetters(t.Context(), &deadletterv1.ReplayDeadLettersRequest{Reason: "r"})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestReplayDeadLettersWithoutAGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(t, arrival(1))
	w.replayer.script[ids[0]] = replay.ErrGateway
	request := &deadletterv1.ReplayDeadLettersRequest{Filter: `state = "OPEN"`, Reason: "r"}
	_, err := w.ReplayDeadLetters(t.Context(), request)
	requireReason(t, err, codes.Unavailable, "GATEWAY_UNAVAILABLE")
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 120 {
		w.put(t, foreign())
	}
	out, err := w.ReplayDeadLetters(t.Context(), &deadletterv1.ReplayDeadLettersRequest{Filter: `state = "OPEN"`, MaxItems: 1000, Reason: "r"})
	require.NoError(t, err)
	require.EqualValues(t, []int64{120, 0}, []int64{out.Matched, out.Replayed})
	require.Len(t, out.Problems, 100)
}

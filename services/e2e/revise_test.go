package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// TestReplayOfARevisedPayload mends a payload that no handler can work with: a first
// revision fails too, the second one succeeds.
func TestReplayOfARevisedPayload(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	original := fail(codes.InvalidArgument, "poison")
	id := p.ask(t, typeFail, original, func(*taskv1.SubmitTaskRequest) {}).TaskId
	d := p.deadLetter(t, id, open)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01"), 60*time.Second)
	defer cancel()
	revise := func(etag, text string) (*deadletterv1.ReviseDeadLetterResponse, error) {
		return p.dead.ReviseDeadLetter(ctx, &deadletterv1.ReviseDeadLetterRequest{
			DeadLetterId: id, Etag: etag, Reason: "the producer was wrong", Payload: &deadletterv1.ReviseDeadLetterRequest_Json{Json: text},
		})
	}
	_, err := revise(d.Etag, `{"code": "three"}`)
	require.Equal(t, codes.InvalidArgument, status.Code(err), err)
	requireReason(t, err, "PAYLOAD_UNDECODABLE")
	require.Equal(t, "payload.code", badField(t, err))

	revised, err := revise(d.Etag, `{"code": 5, "message": "still poison"}`)
	require.NoError(t, err)
	require.Contains(t, revised.Revision.Diff, "-  \"code\": 3,")
	require.Contains(t, revised.Revision.Diff, "+  \"code\": 5,")
	_, err = revise(d.Etag, `{}`)
	require.Equal(t, codes.Aborted, status.Code(err), err)
	requireReason(t, err, "ETAG_MISMATCH")
	require.EqualValues(t, 2, p.replay(t, id))
	d = p.deadLetter(t, id, func(d *deadletterv1.DeadLetter) bool { return open(d) && d.Run == 2 })
	require.EqualValues(t, codes.NotFound, d.Failure.Code, "it was the revision that ran")
	require.EqualValues(t, 2, d.PayloadRevision)

	_, err = revise(d.Etag, `{"message": "mended"}`)
	require.NoError(t, err)
	require.EqualValues(t, 3, p.replay(t, id))
	d = p.deadLetter(t, id, resolved)
	done := p.await(t, id)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
	require.Equal(t, []start{{1, 1}, {2, 1}, {3, 1}}, p.recorder.of(id))
	ran := &demov1.FailRequest{}
	require.NoError(t, done.Payload.UnmarshalTo(ran))
	require.True(t, proto.Equal(fail(codes.OK, "mended"), ran))

	// All of it can be seen: every payload, and who has done what.
	var payloads []*demov1.FailRequest
	for _, r := range d.Revisions {
		m := &demov1.FailRequest{}
		require.NoError(t, proto.Unmarshal(r.Payload, m))
		payloads = append(payloads, m)
	}
	require.Len(t, payloads, 3)
	for i, want := range []*demov1.FailRequest{original, fail(codes.NotFound, "still poison"), fail(codes.OK, "mended")} {
		require.True(t, proto.Equal(want, payloads[i]))
	}
	events, err := p.dead.ListDeadLetterEvents(ctx, &deadletterv1.ListDeadLetterEventsRequest{DeadLetterId: id})
	require.NoError(t, err)
	var actions []string
	for _, e := range events.Events {
		actions = append(actions, e.Action)
	}
	require.Equal(t, []string{"ARRIVE", "REVISE", "REPLAY", "ARRIVE", "REVISE", "REPLAY", "RESOLVE"}, actions)
	audit, err := p.dead.ListAuditEvents(ctx, &deadletterv1.ListAuditEventsRequest{Filter: `resource = "deadLetters/` + id + `" AND method = ReviseDeadLetter`})
	require.NoError(t, err)
	require.Len(t, audit.Events, 2)
	for _, e := range audit.Events {
		require.Equal(t, []string{"unauthenticated", "the producer was wrong", trace}, []string{e.Actor, e.Reason, e.TraceId})
		require.Contains(t, e.Peer, "127.0.0.1:")
	}
}

package calls

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// ended is a task that has ended with an event.
func ended(state task.State, e task.Event) []step {
	e.TaskID, e.Key.Run, e.Key.Attempt = taskID, 1, 1
	return []step{{task.Task{ID: taskID, State: state, Run: 1, Attempt: 1, Decided: e.Key}, e}}
}

func TestHeadersOfTheHandler(t *testing.T) {
	t.Parallel()
	md := map[string][]string{"x-one": {"a", "b"}, "x-bin": {"\x00\xff"}}
	conn := serve(t, &tasks{steps: ended(task.StateSucceeded, task.Event{
		Key: task.Key{Phase: task.PhaseSucceeded}, Headers: md, Trailers: map[string][]string{"x-one": {"c"}, "x-two": {"d"}},
	})})
	for name, c := range map[string]struct {
		pairs []string
		late  bool
	}{
		"early":    {nil, false},
		"late":     {[]string{callmeta.KeyHeaders, "late"}, true},
		"with key": {[]string{callmeta.KeyIdempotencyKey, "k"}, true},
	} {
		var header, trailer metadata.MD
		_, err := faults(conn).Delay(metadata.AppendToOutgoingContext(t.Context(), c.pairs...), &demov1.DelayRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
		require.NoError(t, err)
		require.Equal(t, []string{taskID}, header.Get(callmeta.KeyTaskID), name)
		require.Equal(t, []string{"d"}, trailer.Get("x-two"), name)
		if c.late {
			require.Equal(t, []string{"a", "b"}, header.Get("x-one"), name)
			require.Equal(t, []string{"\x00\xff"}, header.Get("x-bin"), name)
			require.Equal(t, []string{"c"}, trailer.Get("x-one"), name)
		} else {
			require.Empty(t, header.Get("x-one"), name)
			require.Equal(t, []string{"a", "b", "c"}, trailer.Get("x-one"), name)
		}
	}
}

// A failure is answered as its handler returned it, with details of types that are not
// known here.
func TestFailureOfTheHandler(t *testing.T) {
	t.Parallel()
	failure := &task.Failure{Code: 9, Message: "nö", Details: []task.Detail{{TypeURL: "type.googleapis.com/acme.v1.Unknown", Value: []byte{8, 1}}}}
	conn := serve(t, &tasks{steps: ended(task.StateDeadLettered, task.Event{Key: task.Key{Phase: task.PhaseDeadLettered}, Failure: failure})})
	_, err := faults(conn).Fail(t.Context(), &demov1.FailRequest{})
	p := status.Convert(err).Proto()
	require.EqualValues(t, 9, p.Code)
	require.Equal(t, "nö", p.Message)
	require.Len(t, p.Details, 1, "nothing is added")
	require.Equal(t, "type.googleapis.com/acme.v1.Unknown", p.Details[0].TypeUrl)

	conn = serve(t, &tasks{steps: ended(task.StateDeadLettered, task.Event{Key: task.Key{Phase: task.PhaseDeadLettered}})})
	_, err = faults(conn).Fail(t.Context(), &demov1.FailRequest{})
	require.Equal(t, codes.Unknown, status.Code(err))

	conn = serve(t, &tasks{steps: ended(task.StateCancelled, task.Event{Key: task.Key{Phase: task.PhaseCancelled}, Reason: "enough", Failure: failure})})
	_, err = faults(conn).Fail(t.Context(), &demov1.FailRequest{})
	require.Equal(t, codes.Canceled, status.Code(err))
	require.Contains(t, err.Error(), "enough")
}

// retryPolicy is a client's.
const retryPolicy = `{"methodConfig": [{"name": [{}], "retryPolicy": {
	"maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]
}}]}`

// A submission whose outcome is unknown is not to be repeated by a client that would
// make another task of it: there is a header. With a key it is to be.
func TestUnknownSubmissionIsRepeatedOnlyWithAKey(t *testing.T) {
	t.Parallel()
	unknown := rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN, "unknown").With("task_id", taskID)
	refused := rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED, "nothing was submitted")
	for name, c := range map[string]struct {
		err   error
		pairs []string
		calls int
	}{
		"unknown":           {unknown, nil, 1},
		"unknown, late":     {unknown, []string{callmeta.KeyHeaders, "late"}, 1},
		"unknown, async":    {unknown, []string{callmeta.KeyMode, "async"}, 1},
		"unknown, with key": {unknown, []string{callmeta.KeyIdempotencyKey, "k"}, 3},
		"nothing submitted": {refused, nil, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &tasks{submitErr: c.err}
			conn := serve(t, f, grpc.WithDefaultServiceConfig(retryPolicy))
			var header metadata.MD
			_, err := faults(conn).Fail(metadata.AppendToOutgoingContext(t.Context(), c.pairs...), &demov1.FailRequest{}, grpc.Header(&header))
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.Equal(t, c.calls, f.submissions())
			if c.calls == 1 {
				require.Equal(t, []string{taskID}, header.Get(callmeta.KeyTaskID))
				info := status.Convert(err).Details()[0].(*errdetails.ErrorInfo)
				require.Equal(t, "SUBMISSION_UNKNOWN", info.Reason)
				require.Equal(t, taskID, info.Metadata["task_id"])
				require.Contains(t, err.Error(), "GetTask")
			}
		})
	}
}

type contentCodec struct {
	encoding.CodecV2
	name string
}

func (c contentCodec) Name() string { return c.name }

func TestContentTypes(t *testing.T) {
	t.Parallel()
	f := &tasks{steps: ended(task.StateSucceeded, task.Event{Key: task.Key{Phase: task.PhaseSucceeded}})}
	conn := serve(t, f)
	for subtype, ok := range map[string]bool{"proto": true, "PROTO": true, "json": false, "proto2": false, "x": false} {
		f.submitted = nil
		_, err := faults(conn).Fail(t.Context(), &demov1.FailRequest{}, grpc.ForceCodecV2(contentCodec{frame.Codec(), subtype}))
		if ok {
			require.NoError(t, err, subtype)
			require.Equal(t, 1, f.submissions())
			continue
		}
		require.Equal(t, codes.InvalidArgument, status.Code(err), subtype)
		require.Contains(t, err.Error(), "application/grpc+"+subtype)
		require.Zero(t, f.submissions())
	}
	for value, ok := range map[string]bool{
		"application/grpc": true, "application/grpc;charset=utf-8": true, "application/grpc+proto ; x": true, "Application/GRPC+Proto": true,
		"application/grpc+": false, "application/grpcx": false, "": false, "application/json": false, "application/grpc+\xff": false,
	} {
		err := checkContentType(metadata.NewIncomingContext(t.Context(), metadata.Pairs("content-type", value)))
		require.Equal(t, ok, err == nil, "%q: %v", value, err)
	}
}

// Only a caller who has asked for it takes its task along, and none does at its deadline.
func TestCancelling(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pairs    []string
		deadline time.Duration
		method   string
		cancels  bool
	}{
		"not asked for":       {nil, time.Minute, demov1.FaultService_Delay_FullMethodName, false},
		"asked for":           {[]string{callmeta.KeyCancelOnDisconnect, "true"}, time.Minute, demov1.FaultService_Delay_FullMethodName, true},
		"asked for, stream":   {[]string{callmeta.KeyCancelOnDisconnect, "true"}, time.Minute, demov1.ImageService_ContactSheet_FullMethodName, true},
		"without a deadline":  {[]string{callmeta.KeyCancelOnDisconnect, "true"}, 0, demov1.FaultService_Delay_FullMethodName, true},
		"about its deadline":  {[]string{callmeta.KeyCancelOnDisconnect, "true"}, 200 * time.Millisecond, demov1.FaultService_Delay_FullMethodName, false},
		"asked for, late":     {[]string{callmeta.KeyCancelOnDisconnect, "true", callmeta.KeyHeaders, "late"}, time.Minute, demov1.FaultService_Delay_FullMethodName, true},
		"asked for, and told": {[]string{callmeta.KeyCancelOnDisconnect, "false"}, time.Minute, demov1.FaultService_Delay_FullMethodName, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &tasks{}
			if !c.cancels {
				// Looked at after the call's end at the server.
				t.Cleanup(func() { require.Empty(t, f.cancelled) })
			}
			conn := serve(t, f)
			ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), c.pairs...))
			defer cancel()
			if c.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, c.method)
			require.NoError(t, err)
			require.NoError(t, s.SendMsg(&demov1.DelayRequest{}))
			require.NoError(t, s.CloseSend())
			require.Eventually(t, func() bool { return f.submissions() == 1 }, 10*time.Second, time.Millisecond)
			if c.deadline != 200*time.Millisecond {
				cancel()
			}
			require.Error(t, s.RecvMsg(&demov1.DelayResponse{}))
			if c.cancels {
				require.Equal(t, taskID, (<-f.cancelled).TaskId)
			}
		})
	}
}

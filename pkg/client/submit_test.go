package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/client"
)

func anyOf(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func setWidth(width int32) func(*taskv1.Task) {
	return func(t *taskv1.Task) { t.Result = anyOf(&demov1.ThumbnailResponse{Width: width}) }
}

func TestSubmit(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	images := demov1.NewImageServiceClient(c)
	var id, early string
	before := time.Now()
	task, err := client.Submit(ctx, images.Thumbnail, small,
		client.WithPriority(7), client.WithLabel("a", "1"), client.WithMaxAttempts(2), client.WithExpireAfter(time.Hour), client.WithDelay(time.Second),
		client.TaskID(&id), client.OnTaskID(func(id string) { early = id }), client.Async(), client.LateHeaders())
	require.NoError(t, err)
	require.Equal(t, []string{task.ID(), task.ID()}, []string{id, early})
	require.False(t, task.AlreadySubmitted())

	asked, _ := g.requests()
	r := asked[0].submit
	require.Equal(t, "demo.v1.ImageService.Thumbnail", r.Type)
	require.Equal(t, "type.googleapis.com/demo.v1.ThumbnailRequest", r.Payload.TypeUrl)
	require.Equal(t, taskv1.Priority(7), r.Priority)
	require.Equal(t, map[string]string{"a": "1"}, r.Labels)
	require.Equal(t, int32(2), r.Retry.MaxAttempts)
	require.Equal(t, time.Second, r.Delay.AsDuration())
	require.WithinDuration(t, before.Add(time.Hour), r.ExpireTime.AsTime(), time.Minute)

	answer, err := task.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, small.MaxWidth, answer.Width)
	shown, err := task.Get(ctx)
	require.NoError(t, err)
	require.Equal(t, id, shown.TaskId)
}

func TestSubmitStream(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	task, err := client.SubmitStream(ctx, demov1.NewImageServiceClient(c).ContactSheet, &demov1.ContactSheetRequest{Columns: 3})
	require.NoError(t, err)
	answer, err := task.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, int32(2), answer.Total)
	asked, _ := g.requests()
	require.Equal(t, "demo.v1.ImageService.ContactSheet", asked[0].submit.Type)
}

func TestSubmitWithAKeyTwice(t *testing.T) {
	t.Parallel()
	ctx, _, c := begin(t, hooks{})
	images := demov1.NewImageServiceClient(c)
	first, err := client.Submit(ctx, images.Thumbnail, small, client.WithIdempotencyKey("k"))
	require.NoError(t, err)
	second, err := client.Submit(ctx, images.Thumbnail, small, client.WithIdempotencyKey("k"))
	require.NoError(t, err)
	require.Equal(t, first.ID(), second.ID())
	require.True(t, second.AlreadySubmitted())
	// Its first events may be gone from what the second one's caller wants to see.
	for u, err := range second.Watch(ctx) {
		require.NoError(t, err)
		require.NotNil(t, u.Snapshot)
	}
}

// A stub on something else must not have its method called in place of a submission.
func TestSubmitNeedsAStubOfAClient(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	conn, err := grpc.NewClient(g.Target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	images := demov1.NewImageServiceClient(conn)
	_, err = client.Submit(ctx, images.Thumbnail, small)
	require.ErrorContains(t, err, "not that of a stub made on a client.Client")
	_, err = client.SubmitStream(ctx, images.ContactSheet, &demov1.ContactSheetRequest{})
	require.ErrorContains(t, err, "not that of a stub made on a client.Client")
	_, err = client.Submit(ctx, taskv1.NewTaskServiceClient(c).GetTask, &taskv1.GetTaskRequest{})
	require.ErrorContains(t, err, "one of Warren's own")
	asked, _ := g.requests()
	require.Empty(t, asked)
}

func TestSubmitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_, err := client.Submit(ctx, demov1.NewImageServiceClient(c).Thumbnail, small)
	require.Equal(t, codes.Canceled, status.Code(err))
	asked, _ := g.requests()
	require.Empty(t, asked)
}

const unknownID = "0198c0de-0000-7000-8000-000000000007"

func TestSubmissionsThatAreMadeAgain(t *testing.T) {
	t.Parallel()
	key := client.WithIdempotencyKey("k")
	unknown := reason(codes.Unavailable, "SUBMISSION_UNKNOWN", unknownID)
	upTo := func(last int, err error) func(int) error {
		return func(n int) error {
			if n <= last {
				return err
			}
			return nil
		}
	}
	cases := map[string]struct {
		hooks hooks
		opts  []grpc.CallOption
		code  codes.Code
		// ids are those under which it was submitted.
		ids []string
	}{
		"not submitted":        {hooks{refuse: upTo(2, reason(codes.Unavailable, "NOT_SUBMITTED", ""))}, nil, codes.OK, []string{"", "", ""}},
		"unknown":              {hooks{refuse: upTo(2, unknown)}, nil, codes.OK, []string{"", unknownID, unknownID}},
		"unknown, with a key":  {hooks{refuse: upTo(1, unknown)}, []grpc.CallOption{key}, codes.OK, []string{"", ""}},
		"unknown and full":     {hooks{refuse: upTo(1, reason(codes.ResourceExhausted, "SUBMISSION_UNKNOWN", unknownID))}, nil, codes.ResourceExhausted, []string{""}},
		"no store":             {hooks{refuse: upTo(1, reason(codes.Unavailable, "STORE_UNAVAILABLE", ""))}, nil, codes.Unavailable, []string{""}},
		"no store, with a key": {hooks{refuse: upTo(1, reason(codes.Unavailable, "STORE_UNAVAILABLE", ""))}, []grpc.CallOption{key}, codes.OK, []string{"", ""}},
		"bare":                 {hooks{refuse: upTo(1, status.Error(codes.Unavailable, "x"))}, nil, codes.Unavailable, []string{""}},
		"conflict":             {hooks{refuse: upTo(1, reason(codes.AlreadyExists, "IDEMPOTENCY_KEY_CONFLICT", unknownID))}, []grpc.CallOption{key}, codes.AlreadyExists, []string{""}},
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, g, c := begin(t, want.hooks)
			task, err := client.Submit(ctx, demov1.NewImageServiceClient(c).Thumbnail, small, want.opts...)
			require.Equal(t, want.code, status.Code(err), "%v", err)
			asked, tasks := g.requests()
			var ids []string
			for _, r := range asked {
				ids = append(ids, r.submit.TaskId)
			}
			require.Equal(t, want.ids, ids)
			if err == nil {
				require.Equal(t, tasks, []string{task.ID()})
			}
		})
	}
}

func TestSubmitThatIsCut(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{false, true} {
		var g *gateway
		ready := make(chan struct{})
		ctx, gw, c := begin(t, hooks{accepted: func(n int, _ string) error {
			if <-ready; n == 1 {
				g.cut()
			}
			return nil
		}})
		g = gw
		close(ready)
		var opts []grpc.CallOption
		if keyed {
			opts = append(opts, client.WithIdempotencyKey("k"))
		}
		_, err := client.Submit(ctx, demov1.NewImageServiceClient(c).Thumbnail, small, opts...)
		asked, tasks := g.requests()
		require.Len(t, tasks, 1)
		if keyed {
			require.NoError(t, err)
			require.Len(t, asked, 2)
		} else {
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.Len(t, asked, 1)
		}
	}
}

func TestTaskIDOfErrors(t *testing.T) {
	t.Parallel()
	require.Equal(t, "7", client.TaskIDOf(reason(codes.Unavailable, "SUBMISSION_UNKNOWN", "7")))
	require.Empty(t, client.TaskIDOf(reason(codes.Unavailable, "NOT_SUBMITTED", "")))
	require.Empty(t, client.TaskIDOf(status.Error(codes.Unavailable, "x")))
	require.Empty(t, client.TaskIDOf(context.Canceled))
	require.Empty(t, client.TaskIDOf(nil))
}

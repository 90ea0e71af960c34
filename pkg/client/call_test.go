package client_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/client"
)

var small = &demov1.ThumbnailRequest{MaxWidth: 64}

func TestOptionsArrive(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	at := time.Now().Add(time.Hour).UTC()
	cases := map[string]struct {
		opts []grpc.CallOption
		want callmeta.Options
	}{
		"none":            {nil, callmeta.Options{}},
		"priority":        {[]grpc.CallOption{client.WithPriority(client.PriorityHigh)}, callmeta.Options{Priority: 6}},
		"priority number": {[]grpc.CallOption{client.WithPriority(7)}, callmeta.Options{Priority: 7}},
		"delay":           {[]grpc.CallOption{client.WithDelay(time.Microsecond)}, callmeta.Options{Delay: time.Microsecond}},
		"expire after":    {[]grpc.CallOption{client.WithExpireTime(at), client.WithExpireAfter(time.Minute)}, callmeta.Options{ExpireAfter: time.Minute}},
		"expire time":     {[]grpc.CallOption{client.WithExpireAfter(time.Minute), client.WithExpireTime(at)}, callmeta.Options{ExpireTime: at}},
		"labels": {
			[]grpc.CallOption{client.WithLabels(map[string]string{"a": "1", "b": "ü, ="}), client.WithLabel("a", "2")},
			callmeta.Options{Labels: map[string]string{"a": "2", "b": "ü, ="}},
		},
		"max attempts": {[]grpc.CallOption{client.WithMaxAttempts(1)}, callmeta.Options{MaxAttempts: 1}},
		"key":          {[]grpc.CallOption{client.WithIdempotencyKey("ü 7%")}, callmeta.Options{IdempotencyKey: "ü 7%"}},
		"async":        {[]grpc.CallOption{client.Async()}, callmeta.Options{Mode: callmeta.ModeAsync}},
		"cancel":       {[]grpc.CallOption{client.CancelOnDisconnect()}, callmeta.Options{CancelOnDisconnect: true}},
		"late":         {[]grpc.CallOption{client.LateHeaders()}, callmeta.Options{LateHeaders: true}},
	}
	for name, want := range cases {
		_, err := demov1.NewImageServiceClient(c).Thumbnail(ctx, small, want.opts...)
		require.NoError(t, err, name)
		asked, _ := g.requests()
		require.Equal(t, want.want, asked[len(asked)-1].options, name)

		stream, err := demov1.NewImageServiceClient(c).ContactSheet(ctx, &demov1.ContactSheetRequest{}, want.opts...)
		require.NoError(t, err, name)
		for err == nil {
			_, err = stream.Recv()
		}
		asked, _ = g.requests()
		require.Equal(t, want.want, asked[len(asked)-1].options, name)
	}
}

// A handler that calls with the metadata that it was called with asks for what it
// says itself.
func TestOptionsReplaceTheContextsMetadata(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	ctx = metadata.AppendToOutgoingContext(ctx, callmeta.KeyPriority, "1", callmeta.KeyDelay, "1s", callmeta.KeyTaskID, "other", "x-request-id", "7")
	images := demov1.NewImageServiceClient(c)
	_, err := images.Thumbnail(ctx, small, client.WithPriority(9))
	require.NoError(t, err)
	_, err = client.Submit(ctx, images.Thumbnail, small, client.WithPriority(9))
	require.NoError(t, err)
	asked, _ := g.requests()
	require.Equal(t, callmeta.Options{Priority: 9, Delay: time.Second}, asked[0].options)
	require.Equal(t, taskv1.Priority(9), asked[1].submit.Priority)
	require.Equal(t, time.Second, asked[1].submit.Delay.AsDuration())
	for _, r := range asked {
		require.Equal(t, []string{"7"}, r.md["x-request-id"])
	}
}

func TestWithAddsDefaults(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	low := c.With(client.WithPriority(client.PriorityLow), client.WithLabel("a", "1"))
	lower := low.With(client.WithPriority(1))
	for _, stub := range []*client.Client{low, lower, c} {
		_, err := demov1.NewImageServiceClient(stub).Thumbnail(ctx, small, client.WithLabel("b", "2"))
		require.NoError(t, err)
	}
	asked, _ := g.requests()
	require.Equal(t, callmeta.Options{Priority: 2, Labels: map[string]string{"a": "1", "b": "2"}}, asked[0].options)
	require.Equal(t, callmeta.Options{Priority: 1, Labels: map[string]string{"a": "1", "b": "2"}}, asked[1].options)
	require.Equal(t, callmeta.Options{Labels: map[string]string{"b": "2"}}, asked[2].options)
	// They are no options of other calls.
	_, err := taskv1.NewTaskServiceClient(low).GetTask(ctx, &taskv1.GetTaskRequest{TaskId: "x"})
	require.Equal(t, codes.NotFound, status.Code(err))
}

func TestOptionsOfOtherCallsAreRefused(t *testing.T) {
	t.Parallel()
	ctx, _, c := begin(t, hooks{})
	tasks := taskv1.NewTaskServiceClient(c)
	_, err := tasks.SubmitTask(ctx, &taskv1.SubmitTaskRequest{}, client.WithPriority(1))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, "/warren.task.v1.TaskService/SubmitTask is no durable call")
	_, err = tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{}, client.WithPriority(1))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestTheGatewayJudgesOptions(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	images := demov1.NewImageServiceClient(c)
	_, err := images.Thumbnail(ctx, small, client.WithMaxAttempts(1001))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, callmeta.KeyMaxAttempts)
	_, err = client.Submit(ctx, images.Thumbnail, small, client.WithMaxAttempts(1001))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, callmeta.KeyMaxAttempts)
	asked, _ := g.requests()
	require.Empty(t, asked)
}

func TestAnswersAreTheHandlers(t *testing.T) {
	t.Parallel()
	bad, err := status.New(codes.ResourceExhausted, "no paper").WithDetails(&errdetails.ErrorInfo{Domain: "acme", Reason: "PAPER"})
	require.NoError(t, err)
	ctx, g, c := begin(t, hooks{fail: bad})
	var id string
	var header, trailer metadata.MD
	_, err = demov1.NewImageServiceClient(c).Thumbnail(ctx, small, client.TaskID(&id), grpc.Header(&header), grpc.Trailer(&trailer))
	require.Equal(t, bad.Proto().String(), status.Convert(err).Proto().String())
	_, tasks := g.requests()
	require.Equal(t, tasks, []string{id})
	require.Equal(t, []string{id}, header[callmeta.KeyTaskID])
	require.Equal(t, []string{"1"}, trailer["x-trailer"])
}

// The caller that gives up knows the task that goes on.
func TestTaskIDAfterTheDeadline(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{hold: true})
	images := demov1.NewImageServiceClient(c)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var id string
	var early atomic.Int32
	_, err := images.Thumbnail(ctx, small, client.TaskID(&id), client.OnTaskID(func(string) {
		early.Add(1)
		cancel()
	}))
	require.Equal(t, codes.Canceled, status.Code(err))
	_, tasks := g.requests()
	require.Equal(t, tasks, []string{id})
	require.Equal(t, int32(1), early.Load())
}

func TestOnTaskIDWhileTheCallWaits(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{hold: true})
	told := make(chan string, 3)
	opts := []grpc.CallOption{client.OnTaskID(func(id string) { told <- id })}
	images := demov1.NewImageServiceClient(c)

	answered := make(chan error, 1)
	go func() {
		_, err := images.Thumbnail(ctx, small, opts...)
		answered <- err
	}()
	id := <-told
	g.update(id, func(t *taskv1.Task) { t.Result = anyOf(&demov1.ThumbnailResponse{}) })
	g.add(id, started, ended(nil))
	require.NoError(t, <-answered)
	require.Empty(t, told)

	stream, err := images.ContactSheet(ctx, &demov1.ContactSheetRequest{}, opts...)
	require.NoError(t, err)
	id = <-told
	g.update(id, func(t *taskv1.Task) { t.Result = anyOf(&demov1.ContactSheetResponse{}) })
	g.add(id, started, ended(nil))
	_, err = stream.Recv()
	require.NoError(t, err)
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	require.Empty(t, told)
}

func TestTaskIDOfAStream(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{})
	for _, byHeader := range []bool{false, true} {
		var id, early string
		stream, err := demov1.NewImageServiceClient(c).ContactSheet(ctx, &demov1.ContactSheetRequest{}, client.TaskID(&id), client.OnTaskID(func(id string) { early = id }))
		require.NoError(t, err)
		if byHeader {
			_, err = stream.Header()
			require.NoError(t, err)
			require.NotEmpty(t, id)
		}
		m, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, int32(2), m.Total)
		_, err = stream.Recv()
		require.ErrorIs(t, err, io.EOF)
		_, tasks := g.requests()
		require.Contains(t, tasks, id)
		require.Equal(t, id, early)
	}
}

func TestTaskIDIsLeftAloneWhenThereIsNone(t *testing.T) {
	t.Parallel()
	ctx, _, c := begin(t, hooks{refuse: func(int) error { return status.Error(codes.NotFound, "no") }})
	id := "none"
	opts := []grpc.CallOption{client.TaskID(&id), client.OnTaskID(func(string) { panic("told") })}
	images := demov1.NewImageServiceClient(c)
	_, err := images.Thumbnail(ctx, small, opts...)
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = client.Submit(ctx, images.Thumbnail, small, opts...)
	require.Equal(t, codes.NotFound, status.Code(err))
	stream, err := images.ContactSheet(ctx, &demov1.ContactSheetRequest{}, opts...)
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Equal(t, "none", id)
}

func TestFromConn(t *testing.T) {
	t.Parallel()
	ctx, g, _ := begin(t, hooks{})
	conn, err := grpc.NewClient(g.Target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	c := client.FromConn(conn)
	var id, early string
	_, err = demov1.NewImageServiceClient(c).Thumbnail(ctx, small, client.TaskID(&id), client.OnTaskID(func(id string) { early = id }))
	require.NoError(t, err)
	require.NotEmpty(t, id)
	require.Equal(t, id, early)
	require.NoError(t, c.Close())
	_, err = c.Task(ctx, id)
	require.NoError(t, err)
}

package worker

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestHeadersAreJoinedAsInAServer(t *testing.T) {
	t.Parallel()
	var s transportStream
	own := metadata.Pairs("a", "1", "b", "x")
	require.NoError(t, s.SetHeader(own))
	require.NoError(t, s.SetHeader(nil))
	require.NoError(t, s.SetHeader(metadata.Pairs("a", "2")))
	own.Set("a", "changed later")
	own.Append("b", "changed later")
	require.NoError(t, s.SetTrailer(metadata.Pairs("t", "1")))
	require.NoError(t, s.SendHeader(metadata.Pairs("a", "3")))
	require.Equal(t, codes.Internal, status.Code(s.SetHeader(metadata.Pairs("a", "4"))))
	require.Equal(t, codes.Internal, status.Code(s.SendHeader(nil)))
	require.NoError(t, s.SetTrailer(metadata.Pairs("t", "2")))
	headers, trailers := s.response()
	require.Equal(t, task.Metadata{"a": {"1", "2", "3"}, "b": {"x"}}, headers)
	require.Equal(t, task.Metadata{"t": {"1", "2"}}, trailers)
}

func TestWhatDoesNotComeBack(t *testing.T) {
	t.Parallel()
	var s transportStream
	for _, key := range []string{"authorization", "set-cookie", "grpc-status", "warren-task-id", "proxy-x", "content-type"} {
		require.NoError(t, s.SetHeader(metadata.MD{key: {"secret"}}))
		require.NoError(t, s.SetTrailer(metadata.MD{key: {"secret"}}))
	}
	headers, trailers := s.response()
	require.Nil(t, headers)
	require.Nil(t, trailers)

	require.NoError(t, s.SetHeader(metadata.Pairs("a", "1", "z", strings.Repeat("x", task.MaxResponseMetadata))))
	headers, _ = s.response()
	require.Equal(t, task.Metadata{"a": {"1"}}, headers, "what is too much is left out")
}

func TestWhatGRPCCannotSendIsRefused(t *testing.T) {
	t.Parallel()
	for name, md := range map[string]metadata.MD{
		"upper case":    {"Authorization": {"x"}},
		"no key":        {"": {"x"}},
		"pseudo header": {":path": {"x"}},
		"a space":       {"a b": {"x"}},
		"not UTF-8":     {"a\xff": {"x"}},
		"bytes":         {"a": {"fine", "\x00"}},
		"no ASCII":      {"a": {"ä"}},
	} {
		var s transportStream
		require.Equal(t, codes.Internal, status.Code(s.SetHeader(md)), name)
		require.Equal(t, codes.Internal, status.Code(s.SendHeader(md)), name)
		require.Equal(t, codes.Internal, status.Code(s.SetTrailer(md)), name)
		require.NoError(t, s.SetHeader(metadata.Pairs("a", "1")), name)
		headers, trailers := s.response()
		require.Equal(t, task.Metadata{"a": {"1"}}, headers, name)
		require.Nil(t, trailers, name)
	}
	var s transportStream
	require.NoError(t, s.SetHeader(metadata.MD{"a-bin": {"\x00\xff"}, "a_b.c-9": {"printable ~"}}))
}

// Not parallel: it counts the allocations of the process.
func TestNoMetadataCostsNothing(t *testing.T) {
	var s transportStream
	var headers, trailers task.Metadata
	require.Zero(t, testing.AllocsPerRun(100, func() { headers, trailers = s.response() }))
	require.Nil(t, headers)
	require.Nil(t, trailers)
}

// marked is a handler that sets metadata, and then does what f does.
func marked(f func() error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := grpc.SetHeader(ctx, metadata.Pairs("h", "1", "h-bin", "\xff", "authorization", "secret")); err != nil {
			return err
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("t", "1")); err != nil {
			return err
		}
		return f()
	}
}

func requireMarked(t testing.TB, e task.Event) {
	t.Helper()
	require.Equal(t, task.Metadata{"h": {"1"}, "h-bin": {"\xff"}}, e.Headers)
	require.Equal(t, task.Metadata{"t": {"1"}}, e.Trailers)
}

func TestHeadersComeWithEveryOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler func() error
		phase   task.Phase
	}{
		"success": {func() error { return nil }, task.PhaseSucceeded},
		"failure": {func() error { return status.Error(codes.NotFound, "no") }, task.PhaseDeadLettered},
		"panic":   {func() error { panic("ouch") }, task.PhaseRetrying},
		"snooze":  {func() error { return task.Snooze(time.Hour) }, task.PhaseRetrying},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := workplace(t, marked(c.handler))
			id := p.Submit(t, typeDelay)
			requireMarked(t, p.Await(t, id, c.phase))
			started := p.Await(t, id, task.PhaseStarted)
			require.Nil(t, started.Headers)
		})
	}
}

func TestHeadersAreNoneOfWhatIsNoOutcome(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	p := workplace(t, func(ctx context.Context) error {
		if calls.Add(1) > 1 {
			return nil
		}
		return marked(func() error { return task.NotBegun(status.Error(codes.Unavailable, "no connection")) })(ctx)
	})
	id := p.Submit(t, typeDelay)
	released := p.Await(t, id, task.PhaseReleased)
	require.Nil(t, released.Headers)
	require.Nil(t, released.Trailers)
	succeeded := p.Await(t, id, task.PhaseSucceeded)
	require.Nil(t, succeeded.Headers, "they are of this call")

	dead := p.Await(t, p.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.ExpireTime = time.Now().Add(-time.Minute) }), task.PhaseDeadLettered)
	require.Nil(t, dead.Headers)
}

func TestWrittenOffHandlersHaveNoHeaders(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, func(o *taskv1.TaskOptions) { o.Timeout, o.Retry.MaxAttempts = durationpb.New(10*time.Millisecond), 1 })
	w := newWorker(t, Config{AMQPURLs: []string{b.URL}, Logger: quiet(), MaxStuck: -1, Grace: -1})
	w.patience = 50 * time.Millisecond
	release, returned := make(chan struct{}), make(chan struct{})
	demov1.RegisterFaultServiceServer(w, &faults{delay: func(ctx context.Context) error {
		defer close(returned)
		return marked(func() error {
			<-release
			return grpc.SetTrailer(ctx, metadata.Pairs("t", "2"))
		})(ctx)
	}})
	serve(t, w)
	dead := g.Await(t, g.Submit(t, typeDelay), task.PhaseDeadLettered)
	close(release)
	require.EqualValues(t, codes.DeadlineExceeded, dead.Failure.Code)
	require.Nil(t, dead.Headers)
	require.Nil(t, dead.Trailers)
	await(t, returned)
}

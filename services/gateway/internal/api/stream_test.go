package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/rpc"
)

type submitStream = grpc.BidiStreamingClient[taskv1.SubmitTasksRequest, taskv1.SubmitTasksResponse]

// submitTasks calls a service through a server of ours, with more metadata.
func submitTasks(t testing.TB, service *TaskService, more ...string) submitStream {
	t.Helper()
	server, err := rpc.NewServer(rpc.ServerConfig{Logger: quiet(), MaxMessageBytes: 4 << 20})
	require.NoError(t, err)
	taskv1.RegisterTaskServiceServer(server, service)
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///warren", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), append(more, "x-request-id", "7")...))
	t.Cleanup(func() {
		cancel()
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	stream, err := taskv1.NewTaskServiceClient(conn).SubmitTasks(ctx)
	require.NoError(t, err)
	return stream
}

func send(t testing.TB, stream submitStream, requests ...*taskv1.SubmitTaskRequest) {
	t.Helper()
	for _, r := range requests {
		require.NoError(t, stream.Send(&taskv1.SubmitTasksRequest{Request: r}))
	}
}

// receive reads n answers, whose numbers follow one.
func receive(t testing.TB, stream submitStream, after int64, n int) []*taskv1.SubmitTasksResponse {
	t.Helper()
	var got []*taskv1.SubmitTasksResponse
	for range n {
		m, err := stream.Recv()
		require.NoError(t, err)
		after++
		require.Equal(t, after, m.Number)
		got = append(got, m)
	}
	return got
}

// item is an answer as one of a batch.
func item(m *taskv1.SubmitTasksResponse) *taskv1.BatchSubmitTasksResult {
	return &taskv1.BatchSubmitTasksResult{Result: &taskv1.BatchSubmitTasksResult_Error{Error: m.GetError()}}
}

func TestAStreamIsAnsweredInOrder(t *testing.T) {
	t.Parallel()
	service, _, b, p := newKeyService(t)
	stream := submitTasks(t, service.TaskService)
	send(t, stream, request(t))
	first := receive(t, stream, 0, 1)
	require.NotNil(t, first[0].GetResponse(), "it waits for no other")
	unknown, invalid := request(t), request(t)
	unknown.Type, invalid.Labels = "acme.v1.Nobody.Does", map[string]string{"a b": ""}
	send(t, stream, unknown, keyed(t, "a"), nil, request(t), invalid, keyed(t, "a"))
	require.NoError(t, stream.CloseSend())
	got := receive(t, stream, 1, 6)
	requireItem(t, item(got[0]), codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND)
	requireItem(t, item(got[2]), codes.InvalidArgument, invalidReason)
	requireItem(t, item(got[4]), codes.InvalidArgument, invalidReason)
	require.NotNil(t, got[3].GetResponse())
	require.Equal(t, got[1].GetResponse().Task.TaskId, got[5].GetResponse().Task.TaskId)
	_, err := stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 3)
	for _, m := range p.messages {
		require.Equal(t, map[string][][]byte{"x-request-id": {[]byte("7")}}, m.Metadata)
	}
}

func TestAStreamWhoseAnswersNobodyReads(t *testing.T) {
	t.Parallel()
	service, _, b, p := newKeyService(t)
	stream := submitTasks(t, service.TaskService)
	const all = 5000
	var sent atomic.Int64
	var sending sync.WaitGroup
	sending.Go(func() {
		for range all {
			if stream.Send(&taskv1.SubmitTasksRequest{Request: request(t)}) != nil {
				return
			}
			sent.Add(1)
		}
		_ = stream.CloseSend()
	})
	submitted := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.messages)
	}
	// All comes to rest: gRPC takes some answers on their way to the client, and of the
	// requests behind them as many are read, not necessarily submitted, as are bounded.
	var last int64
	since := time.Now()
	brokertest.Eventually(t, patience, func() bool {
		if n := sent.Load() + int64(submitted()); n != last {
			last, since = n, time.Now()
		}
		return sent.Load() >= maxUnanswered && time.Since(since) > 500*time.Millisecond
	})
	require.Less(t, submitted(), 3*maxUnanswered)
	require.Less(t, sent.Load(), int64(all), "the client is slowed down")
	for _, m := range receive(t, stream, 0, all) {
		require.NotNil(t, m.GetResponse())
	}
	_, err := stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	sending.Wait()
	brokertest.Eventually(t, patience, func() bool { return b.Queue(t, names.Work(typeDelay)).MessagesReady == all })
}

func TestAStoppingServerAnswersWhatItHasReceived(t *testing.T) {
	t.Parallel()
	service, _, _, p := newKeyService(t)
	first, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	service.cfg.Publisher = &gate{Publisher: p, before: func() {
		once.Do(func() { close(first) })
		<-goOn
	}}
	stream := submitTasks(t, service.TaskService)
	send(t, stream, request(t))
	<-first
	send(t, stream, request(t), request(t))
	service.Stop()
	close(goOn)
	receive(t, stream, 0, 1)
	answered := int64(1)
	var err error
	for err == nil {
		var m *taskv1.SubmitTasksResponse
		if m, err = stream.Recv(); err == nil {
			answered++
			require.Equal(t, answered, m.Number)
			require.NotNil(t, m.GetResponse())
		}
	}
	requireReason(t, err, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
	require.Len(t, p.messages, int(answered), "what is not answered was not submitted")

	idle := submitTasks(t, service.TaskService)
	_, err = idle.Recv()
	requireReason(t, err, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
}

// gate is a publisher that waits first.
type gate struct {
	Publisher
	before func()
}

func (g *gate) PublishTasks(ctx context.Context, ms []*broker.TaskMessage, outcome func(int, error), checks ...broker.Check) {
	g.before()
	g.Publisher.PublishTasks(ctx, ms, outcome, checks...)
}

func TestAStreamEndsWithAMessageThatIsTooLarge(t *testing.T) {
	t.Parallel()
	service, _, _, _ := newKeyService(t)
	stream := submitTasks(t, service.TaskService)
	huge := request(t)
	huge.Payload = &anypb.Any{Value: make([]byte, 5<<20)}
	send(t, stream, request(t), huge)
	require.NotNil(t, receive(t, stream, 0, 1)[0].GetResponse(), "what came before it is answered")
	_, err := stream.Recv()
	requireReason(t, err, codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE)
}

func TestAStreamWithTooMuchMetadata(t *testing.T) {
	t.Parallel()
	service, _ := newService(t, stopped())
	stream := submitTasks(t, service, "x-large", strings.Repeat("x", 64<<10))
	_, err := stream.Recv()
	requireReason(t, err, codes.InvalidArgument, invalidReason)
}

func TestIntakeKeepsToItsBounds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ size, most int }{
		"requests": {10, maxUnanswered},
		"bytes":    {1 << 20, 16},
	} {
		in := newIntake(semaphore.NewWeighted(maxIntakeBytes))
		read := make(chan struct{}, 2*maxUnanswered)
		ended := make(chan struct{})
		lost := errors.New("lost")
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(ended)
			in.read(ctx, func() (*taskv1.SubmitTasksRequest, error) {
				read <- struct{}{}
				return &taskv1.SubmitTasksRequest{Request: &taskv1.SubmitTaskRequest{Payload: &anypb.Any{Value: make([]byte, c.size)}}}, nil
			})
		}()
		brokertest.Eventually(t, patience, func() bool { return len(read) == c.most })
		requests, err := in.take(ctx, nil)
		require.NoError(t, err)
		require.LessOrEqual(t, len(requests), c.most)
		require.Len(t, read, c.most, "%s: what was taken is not answered", name)
		in.answered(requests[0].size)
		brokertest.Eventually(t, patience, func() bool { return len(read) == c.most+1 })
		cancel()
		<-ended
		require.False(t, in.add(received{}, lost))
		for err == nil {
			_, err = in.take(t.Context(), nil)
		}
		require.ErrorIs(t, err, lost, fmt.Sprint(name, ": once all is taken"))
	}
}

// TestAllStreamsAreBoundedTogether until their requests are submitted, whether or not
// anybody reads the answers.
func TestAllStreamsAreBoundedTogether(t *testing.T) {
	t.Parallel()
	request := &taskv1.SubmitTasksRequest{Request: &taskv1.SubmitTaskRequest{Payload: &anypb.Any{Value: make([]byte, 100)}}}
	size := int64(proto.Size(request.Request))
	all := semaphore.NewWeighted(3 * size)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reading sync.WaitGroup
	open := func() (*intake, *atomic.Int64) {
		in, read := newIntake(all), &atomic.Int64{}
		reading.Go(func() {
			in.read(ctx, func() (*taskv1.SubmitTasksRequest, error) {
				read.Add(1)
				return request, nil
			})
		})
		return in, read
	}
	waiting := func(in *intake) int {
		in.mu.Lock()
		defer in.mu.Unlock()
		return len(in.waiting)
	}
	first, firstRead := open()
	brokertest.Eventually(t, patience, func() bool { return waiting(first) == 3 && firstRead.Load() == 4 })
	second, secondRead := open()
	brokertest.Eventually(t, patience, func() bool { return secondRead.Load() == 1 })
	require.Zero(t, waiting(second), "there is room for none of it")

	taken, err := first.take(ctx, nil)
	require.NoError(t, err)
	first.submitted(taken[:2]) // they are served in turn
	brokertest.Eventually(t, patience, func() bool { return waiting(first) == 1 && waiting(second) == 1 })
	first.submitted(taken[2:])
	first.close()
	brokertest.Eventually(t, patience, func() bool { return waiting(second) == 3 })
	second.close()
	cancel()
	reading.Wait()
	require.True(t, all.TryAcquire(3*size), "all is given back")
}

// deafStream is a stream whose client sends one request and reads nothing.
type deafStream struct {
	grpc.ServerStream
	context  func() context.Context
	requests chan *taskv1.SubmitTasksRequest
}

func (s *deafStream) Context() context.Context { return s.context() }

func (s *deafStream) Recv() (*taskv1.SubmitTasksRequest, error) {
	select {
	case r := <-s.requests:
		return r, nil
	case <-s.Context().Done():
		return nil, s.Context().Err()
	}
}

func (s *deafStream) Send(*taskv1.SubmitTasksResponse) error {
	<-s.Context().Done()
	return s.Context().Err()
}

func TestAClientThatNeverReadsDoesNotKeepTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		service, _ := newService(t, stopped())
		ctx, cancel := context.WithCancel(t.Context())
		stream := &deafStream{context: func() context.Context { return ctx }, requests: make(chan *taskv1.SubmitTasksRequest, 1)}
		stream.requests <- &taskv1.SubmitTasksRequest{}
		ended := make(chan error, 1)
		go func() { ended <- service.SubmitTasks(stream) }()
		synctest.Wait()
		require.Empty(t, ended)
		begin := time.Now()
		service.Stop()
		requireReason(t, <-ended, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
		require.Equal(t, maxFarewell, time.Since(begin))
		cancel() // as gRPC does
	})
}

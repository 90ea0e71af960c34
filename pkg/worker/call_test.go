package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	validator "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// One unary and one server-streaming method, whose requests have rules.
const (
	unaryMethod  = "warren.task.v1.TaskService.GetTask"
	streamMethod = "warren.task.v1.TaskService.WatchTask"
)

// server is the service whose methods the tests call.
type server struct {
	taskv1.UnimplementedTaskServiceServer
	unary  func(context.Context, *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error)
	stream func(*taskv1.WatchTaskRequest, grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error
}

func (s *server) GetTask(ctx context.Context, r *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
	return s.unary(ctx, r)
}

func (s *server) WatchTask(r *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
	return s.stream(r, ss)
}

// both makes a service whose methods are the same function of their context.
func both(f func(context.Context) error) *server {
	return &server{
		unary: func(ctx context.Context, _ *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
			return &taskv1.GetTaskResponse{}, f(ctx)
		},
		stream: func(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
			return f(ss.Context())
		},
	}
}

func workerOf(t testing.TB, s *server, cfg Config) *Worker {
	t.Helper()
	w, err := New(cfg)
	require.NoError(t, err)
	taskv1.RegisterTaskServiceServer(w, s)
	return w
}

// outcome is what became of a call.
type outcome struct {
	reply    []byte
	messages [][]byte
	err      error
	// headers and trailers are what comes back with the task.
	headers, trailers task.Metadata
}

// invoke calls a method as an execution does.
func invoke(ctx context.Context, w *Worker, method string, input []byte, md metadata.MD) outcome {
	var o outcome
	c := &call{method: w.methods[method], input: input, sent: &transportStream{method: w.methods[method].fullMethod}, send: func(b []byte) error {
		o.messages = append(o.messages, b)
		return nil
	}}
	o.reply, o.err = c.run(ctx, w, md)
	o.headers, o.trailers = c.sent.response()
	return o
}

// each runs a subtest for the unary method and one for the stream.
func each(t *testing.T, f func(t *testing.T, method string)) {
	t.Helper()
	for name, method := range map[string]string{"unary": unaryMethod, "stream": streamMethod} {
		t.Run(name, func(t *testing.T) { f(t, method) })
	}
}

// request is a valid request of either method: their first fields are the same.
func request(t testing.TB) []byte {
	t.Helper()
	b, err := proto.Marshal(&taskv1.GetTaskRequest{TaskId: task.NewID()})
	require.NoError(t, err)
	return b
}

func TestCallPassesRequestAndReply(t *testing.T) {
	t.Parallel()
	w := workerOf(t, &server{
		unary: func(_ context.Context, r *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
			return &taskv1.GetTaskResponse{Task: &taskv1.Task{TaskId: r.TaskId}}, nil
		},
		stream: func(r *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
			for i := range 3 {
				if err := ss.Send(&taskv1.WatchTaskResponse{ResumeToken: fmt.Sprint(r.TaskId, i)}); err != nil {
					return err
				}
			}
			return nil
		},
	}, Config{})
	input, err := proto.Marshal(&taskv1.GetTaskRequest{TaskId: "x"})
	require.NoError(t, err)

	o := invoke(t.Context(), w, unaryMethod, input, nil)
	require.NoError(t, o.err)
	var reply taskv1.GetTaskResponse
	require.NoError(t, proto.Unmarshal(o.reply, &reply))
	require.Equal(t, "x", reply.GetTask().GetTaskId())
	require.Empty(t, o.messages)

	o = invoke(t.Context(), w, streamMethod, input, nil)
	require.NoError(t, o.err)
	require.Nil(t, o.reply)
	require.Len(t, o.messages, 3)
	for i, b := range o.messages {
		var m taskv1.WatchTaskResponse
		require.NoError(t, proto.Unmarshal(b, &m))
		require.Equal(t, fmt.Sprint("x", i), m.ResumeToken)
	}
}

func TestHandlerFindsWhatAServerGives(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, method string) {
		called := false
		w := workerOf(t, both(func(ctx context.Context) error {
			called = true
			name, ok := grpc.Method(ctx)
			require.True(t, ok)
			require.Equal(t, "/"+strings.Replace(method, "TaskService.", "TaskService/", 1), name)
			md, _ := metadata.FromIncomingContext(ctx)
			require.Equal(t, []string{"a", "b"}, md.Get("X-Key"))
			p, ok := peer.FromContext(ctx)
			require.True(t, ok)
			require.NotEmpty(t, p.Addr.String())
			require.NotEmpty(t, p.Addr.Network())
			_, ok = ctx.Deadline()
			require.True(t, ok)
			require.NoError(t, grpc.SetHeader(ctx, metadata.Pairs("a", "1")))
			require.NoError(t, grpc.SendHeader(ctx, metadata.Pairs("a", "2")))
			require.Error(t, grpc.SetHeader(ctx, metadata.Pairs("a", "3")), "after SendHeader")
			require.Error(t, grpc.SendHeader(ctx, metadata.Pairs("a", "3")), "twice")
			require.NoError(t, grpc.SetTrailer(ctx, metadata.Pairs("t", "1")))
			return nil
		}), Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		o := invoke(ctx, w, method, request(t), metadata.Pairs("x-key", "a", "x-key", "b"))
		require.NoError(t, o.err)
		require.True(t, called)
		require.Equal(t, task.Metadata{"a": {"1", "2"}}, o.headers, "in the order in which they were set")
		require.Equal(t, task.Metadata{"t": {"1"}}, o.trailers)
	})
}

func TestStreamHasHeadersOfItsOwn(t *testing.T) {
	t.Parallel()
	w := workerOf(t, &server{stream: func(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
		require.ErrorIs(t, ss.RecvMsg(&taskv1.WatchTaskRequest{}), io.EOF, "there is one request")
		require.NoError(t, ss.SetHeader(metadata.Pairs("a", "1")))
		require.NoError(t, ss.SendHeader(metadata.Pairs("a", "2")))
		require.Error(t, ss.SendHeader(metadata.Pairs("a", "3")))
		ss.SetTrailer(metadata.Pairs("t", "1"))
		if err := ss.Send(&taskv1.WatchTaskResponse{}); err != nil {
			return err
		}
		ss.SetTrailer(metadata.Pairs("t", "2"))
		return nil
	}}, Config{})
	o := invoke(t.Context(), w, streamMethod, request(t), nil)
	require.NoError(t, o.err)
	require.Len(t, o.messages, 1)
	require.Equal(t, task.Metadata{"a": {"1", "2"}}, o.headers)
	require.Equal(t, task.Metadata{"t": {"1", "2"}}, o.trailers)
}

func TestHeadersMayBeSetConcurrently(t *testing.T) {
	t.Parallel()
	w := workerOf(t, both(func(ctx context.Context) error {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_ = grpc.SetHeader(ctx, metadata.Pairs("a", "1"))
				_ = grpc.SendHeader(ctx, metadata.Pairs("a", "1"))
				_ = grpc.SetTrailer(ctx, metadata.Pairs("a", "1"))
			})
		}
		wg.Wait()
		return nil
	}), Config{})
	require.NoError(t, invoke(t.Context(), w, unaryMethod, request(t), nil).err)
}

// tracer makes interceptors of both kinds that note how they are called.
type tracer struct{ seen []string }

func (r *tracer) unary(name string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		r.seen = append(r.seen, fmt.Sprintf("%s in %s %T %T", name, info.FullMethod, info.Server, req))
		resp, err := handler(context.WithValue(ctx, r, name), req)
		r.seen = append(r.seen, name+" out")
		return resp, err
	}
}

func (r *tracer) stream(name string) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		r.seen = append(r.seen, fmt.Sprintf("%s in %s %T %v %v", name, info.FullMethod, srv, info.IsServerStream, info.IsClientStream))
		err := handler(srv, wrapped{ss, context.WithValue(ss.Context(), r, name)})
		r.seen = append(r.seen, name+" out")
		return err
	}
}

type wrapped struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // as middleware does it
}

func (w wrapped) Context() context.Context { return w.ctx }

func TestInterceptorsRunInOrder(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{nil, {"a"}, {"a", "b", "c"}} {
		t.Run(fmt.Sprint(len(names)), func(t *testing.T) {
			r := &tracer{}
			var cfg Config
			var unary, stream, out []string
			for _, name := range names {
				cfg.UnaryInterceptors = append(cfg.UnaryInterceptors, r.unary(name))
				cfg.StreamInterceptors = append(cfg.StreamInterceptors, r.stream(name))
				unary = append(unary, name+" in /warren.task.v1.TaskService/GetTask *worker.server *taskv1.GetTaskRequest")
				stream = append(stream, name+" in /warren.task.v1.TaskService/WatchTask *worker.server true false")
				out = append([]string{name + " out"}, out...)
			}
			w := workerOf(t, both(func(ctx context.Context) error {
				r.seen = append(r.seen, fmt.Sprint("handler under ", ctx.Value(r)))
				return nil
			}), cfg)
			innermost := "handler under <nil>"
			if len(names) > 0 {
				innermost = "handler under " + names[len(names)-1]
			}
			// Twice: a chain keeps nothing from one call to the next.
			for range 2 {
				r.seen = nil
				require.NoError(t, invoke(t.Context(), w, unaryMethod, request(t), nil).err)
				require.Equal(t, append(append(unary, innermost), out...), r.seen)
				r.seen = nil
				require.NoError(t, invoke(t.Context(), w, streamMethod, request(t), nil).err)
				require.Equal(t, append(append(stream, innermost), out...), r.seen)
			}
		})
	}
}

func TestInterceptorMayAnswerItself(t *testing.T) {
	t.Parallel()
	refused := status.Error(codes.PermissionDenied, "no")
	w := workerOf(t, both(func(context.Context) error { panic("not called") }), Config{
		UnaryInterceptors: []grpc.UnaryServerInterceptor{func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
			return nil, refused
		}},
		StreamInterceptors: []grpc.StreamServerInterceptor{func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
			return refused
		}},
	})
	each(t, func(t *testing.T, method string) {
		require.Equal(t, refused, invoke(t.Context(), w, method, request(t), nil).err)
	})
}

// middleware are the interceptors that users of go-grpc-middleware have.
func middleware(t testing.TB, log io.Writer) Config {
	t.Helper()
	v, err := protovalidate.New()
	require.NoError(t, err)
	h := slog.New(slog.NewTextHandler(log, nil))
	logger := logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		h.Log(ctx, slog.Level(level), msg, fields...)
	})
	recovered := recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		return status.Errorf(codes.Internal, "recovered %v", p)
	})
	return Config{
		UnaryInterceptors: []grpc.UnaryServerInterceptor{
			logging.UnaryServerInterceptor(logger), recovery.UnaryServerInterceptor(recovered), validator.UnaryServerInterceptor(v),
		},
		StreamInterceptors: []grpc.StreamServerInterceptor{
			logging.StreamServerInterceptor(logger), recovery.StreamServerInterceptor(recovered), validator.StreamServerInterceptor(v),
		},
	}
}

func TestMiddlewareRunsUnchanged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, method string) {
		var log bytes.Buffer
		var calls atomic.Int32
		answer := func() error { return nil }
		w := workerOf(t, both(func(context.Context) error {
			calls.Add(1)
			return answer()
		}), middleware(t, &log))

		require.NoError(t, invoke(t.Context(), w, method, request(t), nil).err)
		require.Contains(t, log.String(), `msg="finished call"`)
		require.Contains(t, log.String(), "grpc.service=warren.task.v1.TaskService")
		require.Contains(t, log.String(), "grpc.method="+strings.TrimPrefix(method, "warren.task.v1.TaskService."))
		require.Contains(t, log.String(), "grpc.code=OK")
		require.Contains(t, log.String(), "peer.address=warren")

		answer = func() error { panic("ouch") }
		err := invoke(t.Context(), w, method, request(t), nil).err
		require.Equal(t, codes.Internal, status.Code(err))
		require.ErrorContains(t, err, "recovered ouch")
		require.Contains(t, log.String(), "grpc.code=Internal")
		require.EqualValues(t, 2, calls.Load())

		// An empty task_id is against the request's rules.
		err = invoke(t.Context(), w, method, nil, nil).err
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.NotEmpty(t, status.Convert(err).Details(), "the violations")
		require.EqualValues(t, 2, calls.Load(), "the handler does not see it")
	})
}

func TestNilReplyIsAnEmptyMessage(t *testing.T) {
	t.Parallel()
	w := workerOf(t, &server{
		unary: func(context.Context, *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) { return nil, nil },
		stream: func(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
			return ss.Send(nil)
		},
	}, Config{})
	o := invoke(t.Context(), w, unaryMethod, request(t), nil)
	require.NoError(t, o.err)
	require.Empty(t, o.reply)
	o = invoke(t.Context(), w, streamMethod, request(t), nil)
	require.NoError(t, o.err)
	require.Len(t, o.messages, 1)
	require.Empty(t, o.messages[0])
}

func TestUndecodablePayloadReachesNoHandler(t *testing.T) {
	t.Parallel()
	for name, input := range map[string][]byte{
		"truncated":     {0x0a, 0x05, 'x'},
		"invalid UTF-8": {0x0a, 0x01, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, method string) {
				w := workerOf(t, both(func(context.Context) error { panic("not called") }), middleware(t, io.Discard))
				o := invoke(t.Context(), w, method, input, nil)
				require.ErrorIs(t, o.err, errUndecodable)
				f, cause := failureOf(o.err)
				require.Equal(t, task.CauseUndecodable, cause)
				require.EqualValues(t, codes.InvalidArgument, f.Code)
			})
		})
	}
}

func TestReplyThatCantBeEncodedIsInternal(t *testing.T) {
	t.Parallel()
	w := workerOf(t, &server{
		unary: func(context.Context, *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
			return &taskv1.GetTaskResponse{Task: &taskv1.Task{TaskId: "\xff"}}, nil
		},
		stream: func(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
			return ss.Send(&taskv1.WatchTaskResponse{ResumeToken: "\xff"})
		},
	}, Config{})
	each(t, func(t *testing.T, method string) {
		o := invoke(t.Context(), w, method, request(t), nil)
		require.Equal(t, codes.Internal, status.Code(o.err))
		require.Empty(t, o.messages)
	})
}

func TestMessagesMayBeReusedAfterSend(t *testing.T) {
	t.Parallel()
	w := workerOf(t, &server{stream: func(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
		var m taskv1.WatchTaskResponse
		for i := range 3 {
			m.ResumeToken = strings.Repeat(fmt.Sprint(i), 4096)
			if err := ss.Send(&m); err != nil {
				return err
			}
			m.Reset()
		}
		return nil
	}}, Config{})
	o := invoke(t.Context(), w, streamMethod, request(t), nil)
	require.NoError(t, o.err)
	require.Len(t, o.messages, 3)
	for i, b := range o.messages {
		var m taskv1.WatchTaskResponse
		require.NoError(t, proto.Unmarshal(b, &m))
		require.Equal(t, strings.Repeat(fmt.Sprint(i), 4096), m.ResumeToken)
	}
}

func TestSendAfterTheEndFails(t *testing.T) {
	t.Parallel()
	for want, end := range map[codes.Code]func(context.Context) (context.Context, context.CancelFunc){
		codes.Canceled: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		},
		codes.DeadlineExceeded: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, -1)
		},
	} {
		t.Run(want.String(), func(t *testing.T) {
			ctx, cancel := end(t.Context())
			defer cancel()
			w := workerOf(t, &server{stream: func(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
				return ss.Send(&taskv1.WatchTaskResponse{})
			}}, Config{})
			o := invoke(ctx, w, streamMethod, request(t), nil)
			require.Equal(t, want, status.Code(o.err))
			require.Empty(t, o.messages)
		})
	}
}

func TestSendPassesOnWhatRefusesTheMessage(t *testing.T) {
	t.Parallel()
	refused := errors.New("full")
	w := workerOf(t, &server{stream: func(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
		return ss.Send(&taskv1.WatchTaskResponse{})
	}}, Config{})
	c := &call{method: w.methods[streamMethod], input: request(t), sent: &transportStream{}, send: func([]byte) error { return refused }}
	_, err := c.run(t.Context(), w, nil)
	require.ErrorIs(t, err, refused)
}

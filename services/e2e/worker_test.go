package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/otel"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/pkg/worker"
)

// workerEnv makes this test binary a worker process; its value is the
// recorder's address.
const workerEnv = "E2E_WORKER_RECORDER"

// workerFlags are the worker process's.
type workerFlags struct {
	cli.Broker
	cli.Log
	Concurrency int
	Grace       time.Duration
}

// workerMain is a worker like any user's, with the handlers below.
func workerMain() int {
	var f workerFlags
	if _, err := cli.Parse(&f, "e2e-worker", "A worker for tests.", "test", os.Args[1:]); err != nil {
		cli.Fail("e2e-worker", err)
	}
	if err := runWorker(&f); err != nil {
		cli.Fail("e2e-worker", err)
	}
	return 0
}

func runWorker(f *workerFlags) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := f.Logger(os.Stderr)
	flush, err := telemetry.Start(ctx, "e2e-worker", "test", log)
	if err != nil {
		return err
	}
	defer telemetry.Flush(flush, log)
	h, err := newHandlers(os.Getenv(workerEnv), log)
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Config{
		AMQPURLs: f.AMQPURL, Namespace: f.Namespace, Concurrency: f.Concurrency, Grace: f.Grace, Version: "e2e", Logger: log,
		UnaryInterceptors: []grpc.UnaryServerInterceptor{func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			h.record(ctx)
			return handler(ctx, req)
		}},
		StreamInterceptors: []grpc.StreamServerInterceptor{func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			h.record(ss.Context())
			return handler(srv, ss)
		}},
	})
	if err != nil {
		return err
	}
	demov1.RegisterFaultServiceServer(w, h)
	demov1.RegisterImageServiceServer(w, &streams{})
	return w.Run(ctx)
}

// handlers implement demo.v1.FaultService for tests.
type handlers struct {
	demov1.UnimplementedFaultServiceServer
	log *slog.Logger

	mu   sync.Mutex
	conn net.Conn
}

func newHandlers(recorder string, log *slog.Logger) (*handlers, error) {
	c, err := net.Dial("tcp", recorder)
	if err != nil {
		return nil, fmt.Errorf("connect to the recorder: %w", err)
	}
	return &handlers{conn: c, log: log}, nil
}

// record reports the start, before anything else happens.
func (h *handlers) record(ctx context.Context) {
	info, ok := task.FromContext(ctx)
	if !ok {
		panic("a handler without a task in its context")
	}
	h.mu.Lock()
	_, err := fmt.Fprintf(h.conn, "%s %d %d\n", info.ID, info.Run, info.Attempt)
	h.mu.Unlock()
	if err != nil {
		// A start that is not recorded would make the judge blind.
		fmt.Fprintln(os.Stderr, "the recorder is gone:", err)
		os.Exit(3)
	}
}

// Delay takes its time and reports progress.
func (h *handlers) Delay(ctx context.Context, r *demov1.DelayRequest) (*demov1.DelayResponse, error) {
	_, span := otel.Tracer("e2e").Start(ctx, "handler's own span")
	defer span.End()
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-handler", "delay")); err != nil {
		return nil, err
	}
	const steps = 10
	for i := range steps {
		if err := wait(ctx, r.Delay.AsDuration()/steps); err != nil {
			return nil, err
		}
		if r.Delay.AsDuration() >= time.Second {
			task.Progress(ctx, float64(i+1)/steps, fmt.Sprintf("step %d of %d", i+1, steps))
		}
	}
	return &demov1.DelayResponse{}, nil
}

// mendedEnv makes Fail answer OK.
const mendedEnv = "E2E_MENDED"

// Reasons that Fail knows.
const (
	// reasonOnce has it fail at the first attempt only.
	reasonOnce = "ONCE"
	// reasonUntil as well, with a RetryInfo until the time in the message, in
	// milliseconds since 1970.
	reasonUntil = "UNTIL"
	// reasonRun has it fail in the first run only.
	reasonRun = "FIRST_RUN"
)

// Fail fails as it is asked to, until it is mended.
func (h *handlers) Fail(ctx context.Context, r *demov1.FailRequest) (*demov1.FailResponse, error) {
	_, span := otel.Tracer("e2e").Start(ctx, "handler's own span")
	defer span.End()
	info, _ := task.FromContext(ctx)
	if info.Run > 1 && r.Reason == reasonRun {
		return &demov1.FailResponse{}, nil
	}
	if os.Getenv(mendedEnv) != "" || info.Attempt > 1 && (r.Reason == reasonOnce || r.Reason == reasonUntil) {
		return &demov1.FailResponse{}, nil
	}
	st := status.New(codes.Code(r.Code), r.Message)
	if r.Reason == reasonUntil {
		ms, err := strconv.ParseInt(r.Message, 10, 64)
		if err != nil {
			return nil, err
		}
		st, err = st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Until(time.UnixMilli(ms)))})
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	}
	if r.Reason == "" {
		return nil, st.Err()
	}
	st, err := st.WithDetails(&errdetails.ErrorInfo{Domain: "e2e", Reason: r.Reason})
	if err != nil {
		return nil, err
	}
	return nil, st.Err()
}

// Exit takes the whole process down.
func (h *handlers) Exit(context.Context, *demov1.ExitRequest) (*demov1.ExitResponse, error) {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// Panic panics.
func (h *handlers) Panic(_ context.Context, r *demov1.PanicRequest) (*demov1.PanicResponse, error) {
	panic(r.Message)
}

// FailTimes takes as many seconds as times, whatever becomes of its context.
func (h *handlers) FailTimes(_ context.Context, r *demov1.FailTimesRequest) (*demov1.FailTimesResponse, error) {
	return &demov1.FailTimesResponse{}, wait(context.Background(), time.Duration(r.Times)*time.Second)
}

// streams implements demo.v1.ImageService without images: what a thumbnail
// takes is the size of the result it makes, and a contact sheet is a stream of
// as many messages as it has columns, a cell size of milliseconds apart.
type streams struct {
	demov1.UnimplementedImageServiceServer
}

// Thumbnail answers with as many bytes as its width and height multiplied.
func (s *streams) Thumbnail(_ context.Context, r *demov1.ThumbnailRequest) (*demov1.ThumbnailResponse, error) {
	return &demov1.ThumbnailResponse{Image: make([]byte, r.MaxWidth*r.MaxHeight), Width: r.MaxWidth, Height: r.MaxHeight}, nil
}

// ContactSheet streams.
func (s *streams) ContactSheet(r *demov1.ContactSheetRequest, ss grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error {
	for i := range r.Columns {
		if err := wait(ss.Context(), time.Duration(r.CellSize)*time.Millisecond); err != nil {
			return err
		}
		if err := ss.Send(&demov1.ContactSheetResponse{Placed: i + 1, Total: r.Columns}); err != nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

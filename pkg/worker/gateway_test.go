package worker

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/worker/gatewaytest"
)

// Task types of the workers in these tests.
const (
	typeDelay = "demo.v1.FaultService.Delay"
	typeFail  = "demo.v1.FaultService.Fail"
)

// patience is how long anything may take.
const patience = 15 * time.Second

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// gateway plays the gateway's part.
type gateway struct{ *gatewaytest.Gateway }

func startGateway(t testing.TB, b brokertest.Broker, types ...string) *gateway {
	t.Helper()
	return &gateway{gatewaytest.Start(t, b, types...)}
}

// faults is demo.v1.FaultService with handlers of the test's.
type faults struct {
	demov1.UnimplementedFaultServiceServer
	delay func(context.Context) error
	fail  func(context.Context) error
}

func (f *faults) Delay(ctx context.Context, _ *demov1.DelayRequest) (*demov1.DelayResponse, error) {
	return &demov1.DelayResponse{}, f.delay(ctx)
}

func (f *faults) Fail(ctx context.Context, _ *demov1.FailRequest) (*demov1.FailResponse, error) {
	return &demov1.FailResponse{}, f.fail(ctx)
}

// run runs a worker until stop, which waits for its end, is called or the test ends.
func run(t testing.TB, f *faults, cfg Config) (w *Worker, stop func()) {
	t.Helper()
	cfg.Logger, cfg.Version = quiet(), "v-test"
	w, err := New(cfg)
	require.NoError(t, err)
	demov1.RegisterFaultServiceServer(w, f)
	return w, serve(t, w)
}

// serve runs a worker until stop, which waits for its end, is called or the test ends.
func serve(t testing.TB, w *Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Error("the worker does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

package target

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 15 * time.Second

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// watched is a target that is watched until the test ends.
func watched(t *testing.T, cfg Config) *Target {
	t.Helper()
	target, err := Dial(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { target.Watch(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		require.NoError(t, target.Close())
	})
	return target
}

func awaitReady(t *testing.T, target *Target) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error { return target.Trouble(t.Context()) })
}

func awaitTrouble(t *testing.T, target *Target, kind error, text string) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		err := target.Trouble(t.Context())
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
			return fmt.Errorf("it has another trouble, or none: %w", err)
		}
		return nil
	})
}

// call makes a unary call with frames and says whether it left.
func call(t *testing.T, target *Target) (answer string, left bool, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx, departure := Track(ctx)
	out := &frame.Frame{}
	err = target.Invoke(ctx, "/acme.v1.Echo/Unary", &frame.Frame{Bytes: []byte("in")}, out, grpc.ForceCodecV2(frame.Codec()))
	return string(out.Bytes), departure.Left(), err
}

// answering answers each call with the text.
func answering(text string) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		in := &frame.Frame{}
		if err := ss.RecvMsg(in); err != nil {
			return err
		}
		return ss.SendMsg(&frame.Frame{Bytes: []byte(text)})
	}
}

func serving(t *testing.T, cfg targettest.Config, text string) *targettest.Server {
	t.Helper()
	cfg.Handle = answering(text)
	return targettest.Start(t, cfg)
}

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/client"
)

// dial is the Go client of a platform's gateway.
func (p *platform) dial(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(p.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCallByTheGoClient(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	c := p.dial(t)
	faults := demov1.NewFaultServiceClient(c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	var id string
	_, err := faults.Delay(ctx, delay(0), client.TaskID(&id), client.WithLabel("customer", "c1"), client.WithPriority(client.PriorityHigh))
	require.NoError(t, err)
	done := p.await(t, id)
	require.Equal(t, map[string]string{"customer": "c1"}, done.Labels)
	require.Equal(t, taskv1.Priority_PRIORITY_HIGH, done.Priority)

	_, err = faults.Fail(ctx, &demov1.FailRequest{Code: int32(codes.FailedPrecondition), Message: "no"}, client.WithMaxAttempts(1))
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.Equal(t, "no", status.Convert(err).Message())

	submitted, err := client.Submit(ctx, faults.Delay, delay(100*time.Millisecond), client.WithIdempotencyKey("order-17"))
	require.NoError(t, err)
	again, err := client.Submit(ctx, faults.Delay, delay(100*time.Millisecond), client.WithIdempotencyKey("order-17"))
	require.NoError(t, err)
	require.Equal(t, submitted.ID(), again.ID())
	require.True(t, again.AlreadySubmitted())
	_, err = again.Wait(ctx)
	require.NoError(t, err)
}

// TestCallByTheGoClientOutlastsGateways: with keys nothing is submitted twice, waits go
// on, and watches miss nothing while the gateway is killed again and again.
func TestCallByTheGoClientOutlastsGateways(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "16")
	p.awaitReady(t, typeDelay)
	c := p.dial(t)
	faults := demov1.NewFaultServiceClient(c)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const calls = 20
	type outcome struct {
		id      string
		numbers []int64
		err     error
	}
	outcomes := make(chan outcome, calls)
	for n := range calls {
		go func() {
			var o outcome
			defer func() { outcomes <- o }()
			r := &demov1.DelayRequest{Delay: durationpb.New(time.Duration(5+n%4) * time.Second)}
			task, err := client.Submit(ctx, faults.Delay, r, client.WithIdempotencyKey(fmt.Sprint("k", n)))
			if o.err = err; err != nil {
				return
			}
			o.id = task.ID()
			for u, err := range task.Watch(ctx) {
				if o.err = err; err != nil {
					return
				}
				if u.Event != nil {
					o.numbers = append(o.numbers, u.Event.Number)
				}
			}
			_, o.err = task.Wait(ctx)
		}()
	}
	for range 3 {
		brokertest.Eventually(t, 10*time.Second, func() bool { return p.recorder.tasks() > 0 })
		require.NoError(t, wait(ctx, 700*time.Millisecond))
		p.gateway.kill()
		p.startGateway(t)
	}
	seen := map[string]bool{}
	for range calls {
		o := <-outcomes
		require.NoError(t, o.err)
		require.False(t, seen[o.id])
		seen[o.id] = true
		require.NotEmpty(t, o.numbers)
		for i := 1; i < len(o.numbers); i++ {
			require.Equal(t, o.numbers[i-1]+1, o.numbers[i], "the watch of %s", o.id)
		}
		require.Len(t, p.recorder.of(o.id), 1)
	}
	require.Equal(t, calls, p.recorder.tasks())
}

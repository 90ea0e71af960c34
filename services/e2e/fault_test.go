package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// A handler that ignores its context must not keep its worker from stopping;
// its task is executed by another.
func TestFaultStuckHandlerDoesNotHoldItsWorker(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	w := p.startWorker(t, "--grace", "200ms")
	p.awaitReady(t, typeStuck)
	id := p.submit(t, typeStuck, &demov1.FailTimesRequest{Times: 600}).TaskId
	brokertest.Eventually(t, 10*time.Second, func() bool { return len(p.recorder.of(id)) == 1 })
	w.terminate(t, 15*time.Second)
	p.startWorker(t)
	brokertest.Eventually(t, 15*time.Second, func() bool { return len(p.recorder.of(id)) == 2 })
	// The handler is started before its start is in the store.
	brokertest.Eventually(t, 10*time.Second, func() error {
		attempts := p.attempts(t, id)
		if last := attempts[len(attempts)-1]; !last.Extra {
			return fmt.Errorf("the last execution is not marked: %v", attempts)
		}
		return nil
	})
}

// A worker whose broker hangs, wholly or in one protocol, still stops.
func TestFaultWorkerStopsWhileTheBrokerHangs(t *testing.T) {
	t.Parallel()
	for name, protocols := range map[string][]brokertest.Protocol{
		"all of it": nil, "status": {brokertest.AMQP091}, "work": {brokertest.AMQP10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b := onVHost(t)
			proxy := brokertest.NewProxy(t, b.URL)
			w := p.startWorkerOn(t, proxy.URL(), "--grace", "1s")
			p.awaitReady(t, typeDelay)
			id := p.submit(t, typeDelay, delay(200*time.Millisecond)).TaskId
			brokertest.Eventually(t, 10*time.Second, func() bool { return len(p.recorder.of(id)) == 1 })
			proxy.Stall(protocols...)
			w.terminate(t, 30*time.Second)
			// The broker learns that the connections are gone.
			proxy.Cut()
			p.startWorker(t)
			require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
		})
	}
}

// A cluster that loses one node of three after another goes on: nothing that
// was accepted is lost, and work does not wait for the node to return.
func TestFaultOneNodeOfThree(t *testing.T) {
	cluster := brokertest.StartCluster(t, 3, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, cluster.Nodes[0])
	var urls []string
	for _, n := range cluster.Nodes {
		urls = append(urls, b.Via(t, n).URL)
	}
	p := newPlatform(t, strings.Join(urls, " "))
	p.startWorker(t, "--concurrency", "8")
	p.startWorker(t, "--concurrency", "8")
	p.awaitReady(t, typeDelay)
	for _, n := range cluster.Nodes {
		require.NoError(t, n.Sync(t.Context()))
	}

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var accepted []string
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				r, err := p.tasks.SubmitTask(call, &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(5*time.Millisecond))})
				cancel()
				if err == nil {
					mu.Lock()
					accepted = append(accepted, r.Task.TaskId)
					mu.Unlock()
				}
				_ = wait(ctx, 20*time.Millisecond)
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(accepted)
	}
	for _, n := range cluster.Nodes {
		before := count()
		brokertest.Eventually(t, 10*time.Second, func() bool { return count() > before+50 })
		require.NoError(t, n.Kill())
		// With the node away, submissions and work go on.
		before, worked := count(), p.recorder.tasks()
		brokertest.Eventually(t, 30*time.Second, func() bool { return count() > before+100 && p.recorder.tasks() > worked+100 })
		require.NoError(t, n.Restart(t.Context()))
	}
	stop()
	wg.Wait()
	for _, id := range accepted {
		done := p.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		require.EqualValues(t, 1, done.Attempt)
	}
	t.Logf("%d tasks through the loss of each node in turn", len(accepted))
}

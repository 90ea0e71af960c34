package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// TestPromise1: nothing acknowledged is lost.
func TestPromise1(t *testing.T) {
	eachDrill(t, func(t *testing.T, d *drill) {
		require.GreaterOrEqual(t, len(d.accepted), drillTasks)
		lost := 0
		for _, id := range d.accepted {
			e := d.ends[id]
			ok := e.err == nil && e.task.GetState() == taskv1.TaskState_TASK_STATE_SUCCEEDED && len(e.starts) > 0
			if !ok {
				if lost++; lost <= 5 {
					t.Errorf("task %s was accepted and has not succeeded: %v, error %v, %d starts, attempts %v", id, e.task, e.err, len(e.starts), e.attempts)
				}
			}
		}
		require.Zero(t, lost, "of %d accepted tasks", len(d.accepted))
	})
}

// TestPromise2: extra executions are records, marked, and a drain or a crash
// spends no attempt.
func TestPromise2(t *testing.T) {
	eachDrill(t, func(t *testing.T, d *drill) {
		extra := 0
		for _, id := range d.accepted {
			e := d.ends[id]
			assert.EqualValues(t, 1, e.task.GetAttempt(), "task %s spent an attempt", id)
			marked := 0
			for _, a := range e.attempts {
				if a.Extra {
					marked++
				}
			}
			// A start that was never confirmed has no record of its own: its
			// successor is marked as possibly the second one.
			if len(e.starts) > 1 {
				extra++
				assert.NotZero(t, marked, "task %s was started %d times and no execution is marked: %v", id, len(e.starts), e.attempts)
				last := e.attempts[len(e.attempts)-1]
				assert.True(t, last.Extra, "the last execution of %s: %v", id, last)
			}
			for _, s := range e.starts {
				assert.Equal(t, start{1, 1}, s, "task %s", id)
			}
		}
		if d.mustGiveBack.Load() {
			assert.Positive(t, d.released.Load(), "the drained worker gave nothing back")
		}
		t.Logf("seed %d: %d tasks were started more than once", d.seed, extra)
	})
}

// TestPromise3: a delivery is settled only when its outcome is confirmed.
func TestPromise3(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	p.startWorkerOn(t, proxy.URL(), "--concurrency", "20")
	p.awaitReady(t, typeDelay)
	var ids []string
	for range 10 {
		ids = append(ids, p.submit(t, typeDelay, delay(500*time.Millisecond)).TaskId)
	}
	brokertest.Eventually(t, 10*time.Second, func() bool { return p.recorder.tasks() == len(ids) })
	// Outcomes can't be confirmed now, while the link that settles works.
	proxy.Stall(brokertest.AMQP091)
	queue := "warren.work." + typeDelay
	brokertest.Eventually(t, 5*time.Second, func() bool { return b.Queue(t, queue).MessagesUnacknowledged == len(ids) })
	// The handlers are done by now, and nothing may have been settled.
	deadline := time.Now().Add(3 * time.Second)
	brokertest.Eventually(t, 10*time.Second, func() error {
		if n := b.Queue(t, queue).Messages; n != len(ids) {
			return fmt.Errorf("%d of %d deliveries are unsettled", n, len(ids))
		}
		if time.Now().Before(deadline) {
			return fmt.Errorf("still watching")
		}
		return nil
	})
	proxy.Restore()
	for _, id := range ids {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
		require.Len(t, p.recorder.of(id), 1, "the link was never lost")
	}
	brokertest.Eventually(t, 10*time.Second, func() bool { return b.Queue(t, queue).Messages == 0 })
}

// TestPromise4: a watcher sees every event once, in order, across reconnects.
func TestPromise4(t *testing.T) {
	eachDrill(t, func(t *testing.T, d *drill) {
		require.EqualValues(t, drillWatchers, d.watched.Load())
		require.Positive(t, d.cuts.Load(), "no watch was cut off")
		require.Empty(t, d.problems)
	})
}

// TestPromise5: unknown is not queued.
func TestPromise5(t *testing.T) {
	eachDrill(t, func(t *testing.T, d *drill) {
		require.Empty(t, d.notFound, "accepted tasks that were answered NOT_FOUND")
	})
	t.Run("store behind", func(t *testing.T) {
		p, _ := onVHost(t)
		p.startWorker(t)
		p.awaitReady(t, typeDelay)
		get := func(id string) error {
			_, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
			return err
		}
		unlocked := make(chan struct{})
		ctx, unlock := context.WithCancel(t.Context())
		go func() {
			defer close(unlocked)
			p.lockStore(t, ctx, time.Minute)
		}()
		p.awaitHealth(t, "warren.store", false, 5*time.Second)
		id := p.submit(t, typeDelay, delay(0)).TaskId
		requireReason(t, get(id), "PROJECTION_BEHIND")
		requireReason(t, get(uuid.NewString()), "PROJECTION_BEHIND")
		unlock()
		<-unlocked
		brokertest.Eventually(t, 10*time.Second, func() error { return get(id) })
		require.Equal(t, codes.NotFound, status.Code(get(uuid.NewString())))
	})
}

// TestPromise8: the broker outlives the store.
func TestPromise8(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 5*time.Second)
	unlocked := make(chan struct{})
	ctx, unlock := context.WithCancel(t.Context())
	defer unlock()
	go func() {
		defer close(unlocked)
		p.lockStore(t, ctx, time.Minute)
	}()
	p.awaitHealth(t, "warren.store", false, 5*time.Second)
	var ids []string
	for range 300 {
		ids = append(ids, p.submit(t, typeDelay, delay(time.Millisecond)).TaskId)
	}
	// Work goes on too.
	brokertest.Eventually(t, 10*time.Second, func() bool { return p.recorder.tasks() == len(ids) })
	require.True(t, p.serving(t.Context(), taskv1.TaskService_ServiceDesc.ServiceName), "submissions do not need the store")
	unlock()
	<-unlocked
	for _, id := range ids {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
		require.Len(t, p.recorder.of(id), 1)
	}
	p.awaitHealth(t, "warren.store", true, 5*time.Second)
}

// TestPromise8Start: a gateway that is started while its store is down takes in
// workers and tasks too. What is cancelled it does not know yet, so that nothing is
// started before it does.
func TestPromise8Start(t *testing.T) {
	t.Parallel()
	locked := make(chan struct{})
	ctx, unlock := context.WithCancel(t.Context())
	defer unlock()
	p, _ := onVHost(t, func(p *platform) {
		holding := make(chan struct{})
		go func() {
			defer close(locked)
			p.lockStore(t, ctx, time.Minute, func() { close(holding) })
		}()
		select {
		case <-holding:
		case <-locked:
			t.Fatal("the store could not be locked")
		}
	})
	w := p.startWorker(t)
	p.awaitReady(t, typeDelay)
	p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 5*time.Second)
	require.False(t, p.serving(t.Context(), "warren.store"))
	var ids []string
	for range 20 {
		ids = append(ids, p.submit(t, typeDelay, delay(time.Millisecond)).TaskId)
	}
	brokertest.Eventually(t, 10*time.Second, func() error { return w.said("what is cancelled") })
	require.Zero(t, p.recorder.all())
	_, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: ids[0]})
	requireReason(t, err, "STORE_UNAVAILABLE")
	unlock()
	<-locked
	p.awaitHealth(t, "warren.store", true, 10*time.Second)
	for _, id := range ids {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
		require.Len(t, p.recorder.of(id), 1)
	}
	// The worker's types, announced meanwhile, are in the store by now.
	p.gateway.terminate(t, 10*time.Second)
	p.startGateway(t)
	p.awaitReady(t, typeDelay)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, ids[0]).State)
}

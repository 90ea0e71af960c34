package gatewaytest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// Submit puts a task into its queue, with the fields that edit sets, and gives
// its id.
func (g *Gateway) Submit(t testing.TB, taskType string, edit ...func(*broker.TaskMessage)) string {
	t.Helper()
	m := &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Run: 1, Copy: task.NewCopy(), CreateTime: time.Now().Truncate(time.Microsecond), Priority: task.PriorityNormal,
	}
	for _, f := range edit {
		f(m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, g.Publisher.PublishTask(ctx, m))
	return m.ID
}

// Of gives the events of a task in the order in which they were written.
func (g *Gateway) Of(id string, phases ...task.Phase) []task.Event {
	g.Lock()
	defer g.Unlock()
	var events []task.Event
	for _, e := range g.Events {
		if e.TaskID == id && (len(phases) == 0 || slices.Contains(phases, e.Key.Phase)) {
			events = append(events, e)
		}
	}
	return events
}

// Await waits for the first event of that phase of a task.
func (g *Gateway) Await(t testing.TB, id string, phase task.Phase) task.Event {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool { return len(g.Of(id, phase)) > 0 })
	return g.Of(id, phase)[0]
}

// AwaitAsked waits until a start is asked for that has not been answered.
func (g *Gateway) AwaitAsked(t testing.TB) {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool {
		g.Lock()
		defer g.Unlock()
		return len(g.Asked) > 0
	})
}

// Snapshot gives the requests and heartbeats so far.
func (g *Gateway) Snapshot() (requests []*brokerv1.WorkerRequest, beats []*brokerv1.Heartbeat) {
	g.Lock()
	defer g.Unlock()
	return slices.Clone(g.Requests), slices.Clone(g.Beats)
}

// Count is what the broker says of a queue now: its messages that nobody holds,
// and its consumers. The management API's counts are older.
func (g *Gateway) Count(t testing.TB, queue string) (ready, consumers int) {
	t.Helper()
	ready, consumers, err := g.declarePassive(queue)
	require.NoError(t, err)
	return ready, consumers
}

// AwaitReady waits until that many messages of a queue are held by nobody.
func (g *Gateway) AwaitReady(t testing.TB, queue string, n int) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		if ready, _ := g.Count(t, queue); ready != n {
			return fmt.Errorf("%d messages of %s wait, not %d", ready, queue, n)
		}
		return nil
	})
}

// RequireSettled demands that a worker that has stopped has settled all that it
// took: what is not settled returns to the queue.
func (g *Gateway) RequireSettled(t testing.TB, taskType string) {
	t.Helper()
	queue := g.Names.Work(taskType)
	brokertest.Eventually(t, patience, func() bool {
		_, consumers := g.Count(t, queue)
		return consumers == 0
	})
	ready, _ := g.Count(t, queue)
	require.Zero(t, ready)
}

// Registrations are those so far, and the worker that registered last.
func (g *Gateway) Registrations() (all []*brokerv1.Registration, last WorkerID) {
	g.Lock()
	defer g.Unlock()
	for _, r := range g.Requests {
		if r.GetRegistration() != nil {
			all, last = append(all, r.GetRegistration()), WorkerID(r.Worker.WorkerId)
		}
	}
	return all, last
}

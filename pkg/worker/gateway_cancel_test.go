package worker

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// cancelled is what a gateway keeps of cancellations: the position of each is its
// place in the list, from 1.
type cancelled struct {
	list []*brokerv1.Cancellation
	// page is how many entries a batch has at most; 0 is all.
	page int
	// deaf leaves requests for them unanswered.
	deaf bool
	// catchUp has workers told what their heartbeats say they have missed.
	catchUp bool
	syncs   []*brokerv1.WorkerRequest
}

// after gives what follows a position, in batches.
func (c *cancelled) after(position int, request string) []*brokerv1.CancellationBatch {
	var batches []*brokerv1.CancellationBatch
	for {
		next := len(c.list)
		if c.page > 0 {
			next = min(next, position+c.page)
		}
		batches = append(batches, &brokerv1.CancellationBatch{
			RequestId: request, After: int64(position), Position: int64(next), Entries: c.list[position:next], Complete: next == len(c.list),
		})
		if position = next; position == len(c.list) {
			return batches
		}
	}
}

// missed is what a worker has missed, in one batch after another.
func (c *cancelled) missed(beat *brokerv1.Heartbeat) []*brokerv1.CancellationBatch {
	if at := int(beat.CancelPosition); c.catchUp && at < len(c.list) {
		return c.after(at, "")
	}
	return nil
}

func (g *gateway) onSync(ctx context.Context, r *brokerv1.WorkerRequest) error {
	g.mu.Lock()
	g.syncs = append(g.syncs, r)
	var answer []*brokerv1.CancellationBatch
	if !g.deaf {
		answer = g.after(0, r.RequestId)
	}
	g.mu.Unlock()
	return g.tell(ctx, r.Worker.WorkerId, answer...)
}

func (g *gateway) tell(ctx context.Context, worker string, batches ...*brokerv1.CancellationBatch) error {
	for _, b := range batches {
		m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Cancellations{Cancellations: b}}
		if err := g.publisher.PublishControl(ctx, worker, m); err != nil {
			return err
		}
	}
	return nil
}

// record puts cancellations of first runs on record, and gives the position after
// them.
func (g *gateway) record(reason string, ids ...string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		u := uuid.MustParse(id)
		g.list = append(g.list, &brokerv1.Cancellation{TaskId: u[:], Run: 1, Reason: reason})
	}
	return len(g.list)
}

// cancel puts cancellations on record and tells the worker, in one batch.
func (g *gateway) cancel(t testing.TB, w *Worker, reason string, ids ...string) (position int) {
	t.Helper()
	position = g.record(reason, ids...)
	g.mu.Lock()
	news := g.after(position-len(ids), "")
	g.mu.Unlock()
	require.NoError(t, g.tell(t.Context(), w.ID(), news...))
	return position
}

// lastBeat is the worker's last heartbeat, nil for none.
func (g *gateway) lastBeat(w *Worker) *brokerv1.Heartbeat {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range slices.Backward(g.beats) {
		if b.Worker.WorkerId == w.ID() {
			return b
		}
	}
	return nil
}

// awaitBeat waits for a heartbeat that is as wanted.
func (g *gateway) awaitBeat(t testing.TB, w *Worker, wanted func(*brokerv1.Heartbeat) bool) *brokerv1.Heartbeat {
	t.Helper()
	var b *brokerv1.Heartbeat
	brokertest.Eventually(t, patience, func() bool {
		b = g.lastBeat(w)
		return b != nil && wanted(b)
	})
	return b
}

// awaitEffect waits until a worker starts nothing and runs nothing of what is
// cancelled up to a position.
func (g *gateway) awaitEffect(t testing.TB, w *Worker, position int, ids ...string) {
	t.Helper()
	g.awaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return inEffect(b, position, ids) })
}

func inEffect(b *brokerv1.Heartbeat, position int, ids []string) bool {
	return b.CancelPosition >= int64(position) && !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(b.Cancelling, id) })
}

// say tells the worker something.
func (g *gateway) say(t testing.TB, w *Worker, m *brokerv1.ControlMessage) {
	t.Helper()
	require.NoError(t, g.publisher.PublishControl(t.Context(), w.ID(), m))
}

// control changes what is in force of a type, and tells the worker at once.
func (g *gateway) control(t testing.TB, w *Worker, taskType string, edit func(*brokerv1.TypePolicy)) {
	t.Helper()
	g.mu.Lock()
	p := proto.CloneOf(g.policies[taskType])
	edit(p)
	if !p.Provisional {
		g.policies[taskType] = p
	}
	g.mu.Unlock()
	a := &brokerv1.HeartbeatAnswer{Types: []*brokerv1.TypePolicy{p}}
	g.say(t, w, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: a}})
}

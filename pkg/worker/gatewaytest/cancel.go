package gatewaytest

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

// Cancelled is what a gateway keeps of cancellations: the position of each is its
// place in the list, from 1.
type Cancelled struct {
	List []*brokerv1.Cancellation
	// Page is how many entries a batch has at most; 0 is all.
	Page int
	// Deaf leaves requests for them unanswered.
	Deaf bool
	// CatchUp has workers told what their heartbeats say they have missed.
	CatchUp bool
	// Syncs are the requests for them.
	Syncs []*brokerv1.WorkerRequest
}

// After gives what follows a position, in batches.
func (c *Cancelled) After(position int, request string) []*brokerv1.CancellationBatch {
	var batches []*brokerv1.CancellationBatch
	for {
		next := len(c.List)
		if c.Page > 0 {
			next = min(next, position+c.Page)
		}
		batches = append(batches, &brokerv1.CancellationBatch{
			RequestId: request, After: int64(position), Position: int64(next), Entries: c.List[position:next], Complete: next == len(c.List),
		})
		if position = next; position == len(c.List) {
			return batches
		}
	}
}

// missed is what a worker has missed, in one batch after another.
func (c *Cancelled) missed(beat *brokerv1.Heartbeat) []*brokerv1.CancellationBatch {
	if at := int(beat.CancelPosition); c.CatchUp && at < len(c.List) {
		return c.After(at, "")
	}
	return nil
}

func (g *Gateway) onSync(ctx context.Context, r *brokerv1.WorkerRequest) error {
	g.Lock()
	g.Syncs = append(g.Syncs, r)
	var answer []*brokerv1.CancellationBatch
	if !g.Deaf {
		answer = g.After(0, r.RequestId)
	}
	g.Unlock()
	return g.Tell(ctx, r.Worker.WorkerId, answer...)
}

// Tell tells a worker batches.
func (g *Gateway) Tell(ctx context.Context, workerID string, batches ...*brokerv1.CancellationBatch) error {
	for _, b := range batches {
		m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Cancellations{Cancellations: b}}
		if err := g.Publisher.PublishControl(ctx, workerID, m); err != nil {
			return err
		}
	}
	return nil
}

// Record puts cancellations of first runs on record, and gives the position after
// them.
func (g *Gateway) Record(reason string, ids ...string) int {
	g.Lock()
	defer g.Unlock()
	for _, id := range ids {
		u := uuid.MustParse(id)
		g.List = append(g.List, &brokerv1.Cancellation{TaskId: u[:], Run: 1, Reason: reason})
	}
	return len(g.List)
}

// Cancel puts cancellations on record and tells the worker, in one batch.
func (g *Gateway) Cancel(t testing.TB, w Worker, reason string, ids ...string) (position int) {
	t.Helper()
	position = g.Record(reason, ids...)
	g.Lock()
	news := g.After(position-len(ids), "")
	g.Unlock()
	require.NoError(t, g.Tell(t.Context(), w.ID(), news...))
	return position
}

// LastBeat is the worker's last heartbeat, nil for none.
func (g *Gateway) LastBeat(w Worker) *brokerv1.Heartbeat {
	g.Lock()
	defer g.Unlock()
	for _, b := range slices.Backward(g.Beats) {
		if b.Worker.WorkerId == w.ID() {
			return b
		}
	}
	return nil
}

// AwaitBeat waits for a heartbeat that is as wanted.
func (g *Gateway) AwaitBeat(t testing.TB, w Worker, wanted func(*brokerv1.Heartbeat) bool) *brokerv1.Heartbeat {
	t.Helper()
	var b *brokerv1.Heartbeat
	brokertest.Eventually(t, patience, func() bool {
		b = g.LastBeat(w)
		return b != nil && wanted(b)
	})
	return b
}

// AwaitEffect waits until a worker starts nothing and runs nothing of what is
// cancelled up to a position.
func (g *Gateway) AwaitEffect(t testing.TB, w Worker, position int, ids ...string) {
	t.Helper()
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return InEffect(b, position, ids) })
}

// InEffect says whether a heartbeat shows that nothing of these tasks runs and all
// cancellations up to a position are known.
func InEffect(b *brokerv1.Heartbeat, position int, ids []string) bool {
	return b.CancelPosition >= int64(position) && !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(b.Cancelling, id) })
}

// Say tells the worker something.
func (g *Gateway) Say(t testing.TB, w Worker, m *brokerv1.ControlMessage) {
	t.Helper()
	require.NoError(t, g.Publisher.PublishControl(t.Context(), w.ID(), m))
}

// Control changes what is in force of a type, and tells the worker at once.
func (g *Gateway) Control(t testing.TB, w Worker, taskType string, edit func(*brokerv1.TypePolicy)) {
	t.Helper()
	g.Lock()
	p := proto.CloneOf(g.Policies[taskType])
	edit(p)
	if !p.Provisional {
		g.Policies[taskType] = p
	}
	g.Unlock()
	a := &brokerv1.HeartbeatAnswer{Types: []*brokerv1.TypePolicy{p}}
	g.Say(t, w, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: a}})
}

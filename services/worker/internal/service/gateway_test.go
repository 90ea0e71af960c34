package service

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// gateway takes every registration, with the types that it was started for, and
// keeps what it hears.
type gateway struct {
	types     []string
	publisher *broker.Publisher

	mu sync.Mutex
	// worker is the one that registered last.
	worker        string
	registrations []*brokerv1.Registration
	events        []task.Event
}

func startGateway(t *testing.T, b brokertest.Broker, types ...string) *gateway {
	t.Helper()
	names := broker.Names{Namespace: broker.DefaultNamespace}
	g := &gateway{types: types}
	brokertest.Connect(t, b, g.declare, func(p *broker.Publisher) []broker.Subscription {
		g.publisher = p
		return []broker.Subscription{
			{Queue: names.Requests(), Handle: g.onRequests},
			{Queue: names.Status(), MaxBatch: 100, Prefetch: 100, Handle: g.onStatus},
		}
	})
	return g
}

func (g *gateway) declare(topology *broker.Topology) error {
	err := topology.DeclareShared()
	for _, name := range g.types {
		if err == nil {
			err = topology.DeclareWork(name)
		}
	}
	return err
}

func (g *gateway) onRequests(ctx context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		r := &brokerv1.WorkerRequest{}
		if err := proto.Unmarshal(d.Body, r); err != nil {
			return err
		}
		if r.GetSync() != nil {
			// Nothing was ever cancelled.
			if err := g.tell(ctx, r.Worker.WorkerId, &brokerv1.CancellationBatch{RequestId: r.RequestId, Complete: true}); err != nil {
				return err
			}
			continue
		}
		if r.GetRegistration() == nil {
			continue
		}
		g.mu.Lock()
		g.worker = r.Worker.WorkerId
		g.registrations = append(g.registrations, r.GetRegistration())
		g.mu.Unlock()
		a := &brokerv1.RegistrationAnswer{RequestId: r.RequestId}
		for _, name := range g.types {
			a.Types = append(a.Types, &brokerv1.TypePolicy{Type: name, Timeout: durationpb.New(time.Minute), MaxResultBytes: 1 << 20})
		}
		m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Registration{Registration: a}}
		if err := g.publisher.PublishControl(ctx, r.Worker.WorkerId, m); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) tell(ctx context.Context, worker string, b *brokerv1.CancellationBatch) error {
	return g.publisher.PublishControl(ctx, worker, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Cancellations{Cancellations: b}})
}

// cancel tells the worker the first cancellations that there are.
func (g *gateway) cancel(t *testing.T, reason string, ids ...string) {
	t.Helper()
	b := &brokerv1.CancellationBatch{Position: int64(len(ids)), Complete: true}
	for _, id := range ids {
		u := uuid.MustParse(id)
		b.Entries = append(b.Entries, &brokerv1.Cancellation{TaskId: u[:], Run: 1, Reason: reason})
	}
	g.mu.Lock()
	worker := g.worker
	g.mu.Unlock()
	require.NoError(t, g.tell(t.Context(), worker, b))
}

func (g *gateway) onStatus(_ context.Context, batch []broker.Delivery) error {
	events, _, err := brokertest.DecodeStatus(batch)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, events...)
	return err
}

func (g *gateway) submit(t *testing.T, taskType string, payload []byte, md map[string][][]byte) string {
	t.Helper()
	m := &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Payload: payload, Run: 1, Copy: task.NewCopy(),
		CreateTime: time.Now(), RunTime: time.Now(), Priority: task.PriorityNormal, Metadata: md,
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, g.publisher.PublishTask(ctx, m))
	return m.ID
}

// of gives the events of a task with the phase.
func (g *gateway) of(id string, phase task.Phase) (events []task.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		if e.TaskID == id && e.Key.Phase == phase {
			events = append(events, e)
		}
	}
	return events
}

func (g *gateway) await(t *testing.T, id string, phase task.Phase) task.Event {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool { return len(g.of(id, phase)) > 0 })
	return g.of(id, phase)[0]
}

func (g *gateway) registered() []*brokerv1.Registration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.registrations
}

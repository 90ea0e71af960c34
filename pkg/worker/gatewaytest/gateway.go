// Package gatewaytest plays the gateway's part for tests of workers, with a real broker
// and no store.
package gatewaytest

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// patience is how long anything may take.
const patience = 15 * time.Second

// Worker is known by its id.
type Worker interface{ ID() string }

// WorkerID is the id of a worker that is nowhere at hand.
type WorkerID string

// ID implements Worker.
func (id WorkerID) ID() string { return string(id) }

// Gateway plays the gateway's part: it declares the topology, answers registrations,
// and keeps what workers say. Its fields may be read and changed while it is locked.
type Gateway struct {
	Names     broker.Names
	Publisher *broker.Publisher
	// declarePassive asks the broker for a queue's counts.
	declarePassive func(queue string) (ready, consumers int, err error)

	sync.Mutex
	// Policies are what workers are told, by task type.
	Policies map[string]*brokerv1.TypePolicy
	// Requests are registrations and starts that were asked for; Beats are heartbeats,
	// Events all status events, in the order in which they came.
	Requests []*brokerv1.WorkerRequest
	Beats    []*brokerv1.Heartbeat
	Events   []task.Event
	// markers were seen in the status queue; Asked wait for theirs, by request.
	markers map[string]bool
	Asked   map[string]*brokerv1.WorkerRequest
	// Claims are who holds runs, by task and run.
	Claims map[string]task.Claim
	// Mute leaves start requests unanswered.
	Mute bool
	// Unheard are events that never arrive, as if who says them were gone.
	Unheard task.Phase
	// Suspect has all who ask for a start be told that it may take its worker down.
	Suspect bool
	// Again makes the next heartbeat's answer ask for a registration.
	Again bool
	Cancelled
}

// Start runs a gateway for the types until the test ends. Each attempt of them may run
// for a minute, and results may have 1 MiB.
func Start(t testing.TB, b brokertest.Broker, types ...string) *Gateway {
	t.Helper()
	g := &Gateway{
		Names: broker.Names{Namespace: broker.DefaultNamespace}, Policies: map[string]*brokerv1.TypePolicy{},
		markers: map[string]bool{}, Asked: map[string]*brokerv1.WorkerRequest{}, Claims: map[string]task.Claim{},
	}
	for _, name := range types {
		g.Policies[name] = &brokerv1.TypePolicy{Type: name, Timeout: durationpb.New(time.Minute), MaxResultBytes: 1 << 20}
	}
	channel := b.Channel(t)
	g.declarePassive = func(queue string) (int, int, error) {
		q, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		return q.Messages, q.Consumers, err
	}
	const id = "g-1"
	brokertest.Connect(t, b, func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		for _, name := range types {
			if err := topology.DeclareWork(name); err != nil {
				return err
			}
		}
		return nil
	}, func(p *broker.Publisher) []broker.Subscription {
		g.Publisher = p
		return []broker.Subscription{
			{Queue: g.Names.Requests(), Handle: g.onRequests},
			{Queue: g.Names.Status(), MaxBatch: 100, Prefetch: 100, Handle: g.onStatus},
			{Queue: g.Names.Beats(id), Declare: func(topology *broker.Topology) error { return topology.DeclareBeats(id) }, Handle: g.onBeats},
		}
	})
	return g
}

// Change reads or changes what the gateway keeps and says, under its lock.
func (g *Gateway) Change(f func()) {
	g.Lock()
	defer g.Unlock()
	f()
}

func (g *Gateway) onRequests(ctx context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		r := &brokerv1.WorkerRequest{}
		if err := proto.Unmarshal(d.Body, r); err != nil {
			return err
		}
		if r.GetSync() != nil {
			if err := g.onSync(ctx, r); err != nil {
				return err
			}
			continue
		}
		if r.GetStart() != nil || r.GetStarts() != nil {
			g.Lock()
			g.Requests = append(g.Requests, r)
			g.Asked[r.RequestId] = r
			g.Unlock()
			if err := g.AnswerStarts(ctx); err != nil {
				return err
			}
			continue
		}
		answer := &brokerv1.RegistrationAnswer{RequestId: r.RequestId}
		g.Lock()
		g.Requests = append(g.Requests, r)
		for name := range g.Policies {
			answer.Types = append(answer.Types, g.policy(name))
		}
		g.Unlock()
		m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Registration{Registration: answer}}
		if err := g.Publisher.PublishControl(ctx, r.Worker.WorkerId, m); err != nil {
			return err
		}
	}
	return nil
}

// policy is a copy, to be sent while tests change what is in force.
func (g *Gateway) policy(taskType string) *brokerv1.TypePolicy {
	return proto.CloneOf(g.Policies[taskType])
}

func (g *Gateway) onStatus(ctx context.Context, batch []broker.Delivery) error {
	events, markers, err := brokertest.DecodeStatus(batch)
	if err != nil {
		return err
	}
	g.Lock()
	for _, e := range events {
		if e.Key.Phase != g.Unheard {
			g.Events = append(g.Events, e)
		}
	}
	for _, m := range markers {
		g.markers[m] = true
	}
	g.Unlock()
	return g.AnswerStarts(ctx)
}

func (g *Gateway) onBeats(ctx context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		beat := &brokerv1.Heartbeat{}
		if err := proto.Unmarshal(d.Body, beat); err != nil {
			return err
		}
		answer := &brokerv1.HeartbeatAnswer{}
		g.Lock()
		g.Beats = append(g.Beats, beat)
		for _, load := range beat.Types {
			answer.Types = append(answer.Types, g.policy(load.Type))
		}
		answer.RegisterAgain, g.Again = g.Again, false
		missed := g.missed(beat)
		g.Unlock()
		if err := g.Tell(ctx, beat.Worker.WorkerId, missed...); err != nil {
			return err
		}
		m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: answer}}
		if err := g.Publisher.PublishControl(ctx, beat.Worker.WorkerId, m); err != nil {
			return err
		}
	}
	return nil
}

// Package registry answers workers: it takes in the services that they
// announce, sees to their queues, and tells them the policy in force.
package registry

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Bounds of what is read ahead, and of how long one answer may take.
const (
	requestPrefetch = 16
	beatPrefetch    = 256
	beatBatch       = 64
	answerTimeout   = 10 * time.Second
	// savePeriod is the time between two tries to store what the store did not
	// take.
	savePeriod = time.Second
)

// Topology declares queues on an open connection.
type Topology interface {
	Do(ctx context.Context, f func(*broker.Topology) error) error
}

// Controller tells a worker something.
type Controller interface {
	PublishControl(ctx context.Context, workerID string, m *brokerv1.ControlMessage) error
}

// Config is what a registry needs.
type Config struct {
	GatewayID  string
	Names      broker.Names
	Catalogue  *catalogue.Catalogue
	Store      store.Store
	Controller Controller
	Topology   Topology
	// MaxResultBytes is the limit that workers are told.
	MaxResultBytes int64
	Logger         *slog.Logger
}

// Registry is the gateway's side of registration and heartbeats.
type Registry struct {
	cfg Config

	// undeclared asks Run to declare the queues of all known types.
	undeclared chan struct{}

	mu     sync.Mutex
	loaded bool
	// In the order in which they were announced.
	unsaved []store.BundleRecord
	workers map[string]*worker
	// Task types whose queues exist with other arguments.
	conflicts map[string]bool
}

// New makes a registry. Run fills its catalogue from the store.
func New(cfg Config) *Registry {
	return &Registry{
		cfg: cfg, undeclared: make(chan struct{}, 1), workers: map[string]*worker{}, conflicts: map[string]bool{},
	}
}

// Run loads the catalogue, then stores what workers announce and the store did
// not take at once, and forgets workers that are gone, until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	ticker := time.NewTicker(savePeriod)
	defer ticker.Stop()
	for {
		r.load(ctx)
		r.save(ctx)
		r.forgetGone(time.Now())
		select {
		case <-r.undeclared:
			r.declareKnown(ctx)
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Loaded says whether the task types of earlier days are known: until then an
// unknown type may exist.
func (r *Registry) Loaded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loaded
}

// Requests consumes what workers ask.
func (r *Registry) Requests() broker.Subscription {
	return broker.Subscription{Queue: r.cfg.Names.Requests(), Prefetch: requestPrefetch, Handle: r.handleRequests}
}

// Beats consumes workers' heartbeats from this gateway's own queue.
func (r *Registry) Beats() broker.Subscription {
	return broker.Subscription{
		Queue:    r.cfg.Names.Beats(r.cfg.GatewayID),
		Declare:  func(t *broker.Topology) error { return t.DeclareBeats(r.cfg.GatewayID) },
		Prefetch: beatPrefetch, MaxBatch: beatBatch, Handle: r.handleBeats,
	}
}

func (r *Registry) handleRequests(ctx context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		var request brokerv1.WorkerRequest
		if err := proto.Unmarshal(d.Body, &request); err != nil || request.GetWorker() == nil {
			r.cfg.Logger.Error("a message in the requests queue is no request, it is dropped", "bytes", len(d.Body), "error", err)
			continue
		}
		if registration := request.GetRegistration(); registration != nil {
			if err := r.answerRegistration(ctx, &request, registration); err != nil {
				return err
			}
		}
	}
	return nil
}

// answerRegistration takes in what a worker announces and answers. An error
// means that the request is to be handled again, not that it was refused.
func (r *Registry) answerRegistration(ctx context.Context, request *brokerv1.WorkerRequest, registration *brokerv1.Registration) error {
	answer := &brokerv1.RegistrationAnswer{RequestId: request.RequestId}
	announced := catalogue.Announcement{Services: registration.Services, Files: registration.Files}
	bundle, err := r.bundle(announced)
	if err != nil {
		for _, s := range registration.Services {
			answer.Refusals = append(answer.Refusals, &brokerv1.Refusal{Name: s, Message: err.Error(), Service: true})
		}
	} else if err := r.take(ctx, bundle, startOf(request.Worker, time.Now()), answer); err != nil {
		return err
	}
	w := request.Worker
	r.cfg.Logger.Info("a worker has registered", "worker_id", w.WorkerId, "host", w.Host, "version", w.Version,
		"types", len(answer.Types), "refused", len(answer.Refusals))
	r.tell(ctx, w.WorkerId, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Registration{Registration: answer}})
	return nil
}

// take sees to the queues of a bundle's types before anyone can submit to them.
func (r *Registry) take(ctx context.Context, bundle *catalogue.Bundle, start time.Time, answer *brokerv1.RegistrationAnswer) error {
	conflicts, err := r.declareTypes(ctx, bundle.TaskTypes())
	if err != nil {
		return err
	}
	if err := r.learn(ctx, bundle, start); err != nil {
		return err
	}
	for _, refusal := range bundle.Refusals() {
		answer.Refusals = append(answer.Refusals, &brokerv1.Refusal{Name: refusal.Name, Message: refusal.Message, Service: refusal.Service})
	}
	for _, taskType := range bundle.TaskTypes() {
		if slices.Contains(conflicts, taskType.Name) {
			answer.Refusals = append(answer.Refusals, r.refuseQueue(taskType.Name))
		} else if inForce, ok := r.cfg.Catalogue.Type(taskType.Name); ok {
			answer.Types = append(answer.Types, r.policy(inForce))
		}
	}
	return nil
}

func (r *Registry) policy(t catalogue.TaskType) *brokerv1.TypePolicy {
	return &brokerv1.TypePolicy{Type: t.Name, Timeout: durationpb.New(t.Timeout()), MaxResultBytes: r.cfg.MaxResultBytes}
}

// tell sends control to a worker; that the broker can't take it now is no
// reason to keep the request, because the worker repeats it.
func (r *Registry) tell(ctx context.Context, workerID string, m *brokerv1.ControlMessage) {
	m.GatewayId, m.Time = r.cfg.GatewayID, timestamppb.Now()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := r.cfg.Controller.PublishControl(ctx, workerID, m); err != nil {
		r.cfg.Logger.Warn("a worker was not told", "worker_id", workerID, "error", err)
	}
}

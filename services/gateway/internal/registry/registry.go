// Package registry answers workers: it takes in the services that they
// announce, sees to their queues, and tells them the policy in force.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

	mu      sync.Mutex
	loaded  bool
	unsaved map[string]store.BundleRecord
	workers map[string]*worker
}

// New makes a registry. Load fills its catalogue from the store.
func New(cfg Config) *Registry {
	return &Registry{cfg: cfg, unsaved: map[string]store.BundleRecord{}, workers: map[string]*worker{}}
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

func (r *Registry) load(ctx context.Context) {
	if r.Loaded() {
		return
	}
	records, err := r.cfg.Store.Bundles(ctx)
	if err != nil {
		r.cfg.Logger.Warn("the catalogue can't be loaded yet, trying again", "error", err)
		return
	}
	for _, record := range records {
		// What a worker has announced meanwhile is newer.
		if err := r.restore(record); err != nil {
			r.cfg.Logger.Error("a stored bundle is not usable, its services are unknown until a worker announces them", "services", record.Services, "error", err)
		}
	}
	if err := r.declare(ctx); err != nil {
		r.cfg.Logger.Warn("queues of known task types are not declared yet; they will be when the connection is open", "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = true
}

func (r *Registry) restore(record store.BundleRecord) error {
	services := record.Services[:0:0]
	for _, s := range record.Services {
		if _, known := r.cfg.Catalogue.Bundle(s); !known {
			services = append(services, s)
		}
	}
	if len(services) == 0 {
		return nil
	}
	bundle, err := catalogue.Build(catalogue.Announcement{Services: services, Files: record.Files}, catalogue.Limits{})
	if err != nil {
		return err
	}
	return r.cfg.Catalogue.Put(bundle)
}

// declare declares the queues of all known types on the open connection.
func (r *Registry) declare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return r.cfg.Topology.Do(ctx, r.Declare)
}

// Declare declares everything that this gateway is responsible for. It runs on
// every connection that is opened, so that a broker that was set up anew has it
// all before anyone publishes.
func (r *Registry) Declare(t *broker.Topology) error {
	if err := t.DeclareShared(); err != nil {
		return err
	}
	for _, taskType := range r.cfg.Catalogue.Types() {
		if err := t.DeclareWork(taskType.Name); err != nil {
			return err
		}
	}
	return nil
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
	} else if err := r.take(ctx, bundle, answer); err != nil {
		return err
	}
	w := request.Worker
	r.cfg.Logger.Info("a worker has registered", "worker_id", w.WorkerId, "host", w.Host, "version", w.Version,
		"types", len(answer.Types), "refused", len(answer.Refusals))
	r.tell(ctx, w.WorkerId, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Registration{Registration: answer}})
	return nil
}

// bundle reuses the one that is known already: building one takes milliseconds,
// and all workers of a kind announce the same.
func (r *Registry) bundle(a catalogue.Announcement) (*catalogue.Bundle, error) {
	if len(a.Services) > 0 {
		if known, ok := r.cfg.Catalogue.Bundle(a.Services[0]); ok && known.ID() == a.ID() {
			return known, nil
		}
	}
	return catalogue.Build(a, catalogue.Limits{})
}

// take sees to the queues of a bundle's types before anyone can submit to them.
func (r *Registry) take(ctx context.Context, bundle *catalogue.Bundle, answer *brokerv1.RegistrationAnswer) error {
	if err := r.declareTypes(ctx, bundle.TaskTypes()); err != nil {
		return err
	}
	if err := r.cfg.Catalogue.Put(bundle); err != nil {
		return fmt.Errorf("take in a bundle: %w", err)
	}
	r.remember(ctx, bundle)
	for _, taskType := range bundle.TaskTypes() {
		answer.Types = append(answer.Types, r.policy(taskType))
	}
	for _, refusal := range bundle.Refusals() {
		answer.Refusals = append(answer.Refusals, &brokerv1.Refusal{Name: refusal.Name, Message: refusal.Message, Service: refusal.Service})
	}
	return nil
}

func (r *Registry) declareTypes(ctx context.Context, types []catalogue.TaskType) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := r.cfg.Topology.Do(ctx, func(t *broker.Topology) error {
		for _, taskType := range types {
			if err := t.DeclareWork(taskType.Name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("declare the queues of a worker's types: %w", err)
	}
	return nil
}

// remember stores a bundle, later if the store does not work now: registering
// goes on without it.
func (r *Registry) remember(ctx context.Context, bundle *catalogue.Bundle) {
	r.mu.Lock()
	r.unsaved[bundle.ID()] = store.BundleRecord{
		Digest: bundle.ID(), Services: bundle.Services(), Files: bundle.Files(), Time: time.Now(),
	}
	r.mu.Unlock()
	r.save(ctx)
}

func (r *Registry) save(ctx context.Context) {
	r.mu.Lock()
	unsaved := maps.Clone(r.unsaved)
	r.mu.Unlock()
	for digest, record := range unsaved {
		err := r.cfg.Store.PutBundle(ctx, record)
		if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			return
		}
		if err != nil {
			r.cfg.Logger.Error("a bundle can't be stored; its services will be unknown after a restart", "services", record.Services, "error", err)
		}
		r.mu.Lock()
		delete(r.unsaved, digest)
		r.mu.Unlock()
	}
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

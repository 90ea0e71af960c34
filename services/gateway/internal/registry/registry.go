// Package registry answers workers: it takes in the services that they
// announce, sees to their queues, and tells them the policy in force.
package registry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

// Bounds of what is read ahead, and of how long one answer may take.
const (
	requestPrefetch = 32
	requestBatch    = 32
	beatPrefetch    = 256
	beatBatch       = 64
	answerTimeout   = 10 * time.Second
	// maxRegistrations bounds the registrations that wait, maxRegistering those
	// that are seen to at once.
	maxRegistrations = 256
	maxRegistering   = 4
	// maxSyncs bounds the workers that wait to be told what is cancelled, maxSyncing
	// those that are being told at once.
	maxSyncs   = 1024
	maxSyncing = 8
	// logPeriod is the time between two log lines about the same trouble.
	logPeriod = 10 * time.Second
	// savePeriod is the time between two tries to store what the store did not
	// take.
	savePeriod = time.Second
)

// Topology declares queues on an open connection.
type Topology interface {
	Do(ctx context.Context, f func(*broker.Topology) error) error
}

// Controller tells workers something: one, or all of a task type.
type Controller interface {
	PublishControl(ctx context.Context, workerID string, m *brokerv1.ControlMessage) error
	PublishControlType(ctx context.Context, taskType string, m *brokerv1.ControlMessage) error
}

// Types says what is in force for task types.
type Types interface {
	// Type is false for a type that is not known.
	Type(taskType string) (tasktypes.Type, bool)
	// Loaded says whether the overrides of earlier days are known.
	Loaded() bool
	// Refresh reads the overrides now.
	Refresh(ctx context.Context) error
}

// Starts answers workers that ask whether they may start deliveries. Ask does not
// block.
type Starts interface {
	Ask(workerID string, requests ...task.StartRequest)
}

// Control knows the workers, and what they are to be told besides the policies of
// their types.
type Control interface {
	// Loaded says whether what operators have set is known.
	Loaded() bool
	// Listening says that heartbeats arrive from now on.
	Listening(now time.Time)
	Beat(h *brokerv1.Heartbeat, now time.Time)
	// Sync answers a SyncRequest; after an error the worker is to repeat it.
	Sync(ctx context.Context, r *brokerv1.WorkerRequest) error
	// News is what a worker is to be told that a heartbeat shows to be missing; nil
	// for nothing.
	News(h *brokerv1.Heartbeat) *brokerv1.CancellationBatch
	// Drains is what a worker is to be asked again, as a heartbeat shows; nil for nothing.
	Drains(h *brokerv1.Heartbeat) *brokerv1.DrainRequest
	// Decorate adds to a worker's policy what operators have set, and the versions of
	// that; without a worker, what they have set for all.
	Decorate(workerID string, p *brokerv1.TypePolicy)
	// Apart lists the live workers of a task type if they can't all be told the same.
	Apart(taskType string) []string
	// Reread reads now what operators have set.
	Reread(ctx context.Context) error
}

// Config is what a registry needs.
type Config struct {
	GatewayID  string
	Names      broker.Names
	Catalogue  *catalogue.Catalogue
	Types      Types
	Starts     Starts
	Control    Control
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

	// registrations wait for Run; full is about more than may wait.
	registrations chan *brokerv1.WorkerRequest
	full          rate.Sometimes

	// syncs wait for Run.
	syncs chan *brokerv1.WorkerRequest

	// corrections wait for Run: heartbeats that show what is not known here.
	corrections chan *brokerv1.Heartbeat

	// beats counts the queues for heartbeats.
	beats atomic.Int64

	// undeclared asks Run to declare the queues of all known types.
	undeclared chan struct{}

	// taking lets no bundle be compared while another one is taken in.
	taking sync.Mutex

	// declaring is held to read by who declares a queue, from asking whether its type is
	// to have one until it is there.
	declaring sync.RWMutex

	mu     sync.Mutex
	loaded bool
	// loading is the first try to load, until it has ended.
	loading bool
	// accepted are the versions of each service that were let in.
	accepted map[string][]version
	// In the order in which they were announced.
	unsaved []store.BundleRecord
	// Task types whose queues exist with other arguments.
	conflicts map[string]bool
	// retiring is the task type that is being retired, empty for none; retirements counts
	// those that were begun.
	retiring    string
	retirements int
	// Registrations that wait or are seen to.
	registering map[registrationKey]bool
	// Workers whose SyncRequests wait or are seen to.
	syncing map[string]bool
}

// New makes a registry. Run fills its catalogue from the store.
func New(cfg Config) *Registry {
	return &Registry{
		cfg: cfg, undeclared: make(chan struct{}, 1), conflicts: map[string]bool{},
		registrations: make(chan *brokerv1.WorkerRequest, maxRegistrations), registering: map[registrationKey]bool{},
		full: rate.Sometimes{Interval: logPeriod}, syncs: make(chan *brokerv1.WorkerRequest, maxSyncs), syncing: map[string]bool{},
		accepted:    map[string][]version{},
		corrections: make(chan *brokerv1.Heartbeat, maxCorrections),
	}
}

// Run answers registrations and SyncRequests and keeps the catalogue, until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	r.setLoading(!r.Loaded())
	for range maxRegistering {
		running.Go(func() { r.serveRegistrations(ctx) })
	}
	for range maxSyncing {
		running.Go(func() { r.serveSyncs(ctx) })
	}
	running.Go(func() { r.serveCorrections(ctx) })
	r.keep(ctx)
}

// keep loads the catalogue, then stores what workers announce and the store did
// not take at once, until ctx ends.
func (r *Registry) keep(ctx context.Context) {
	ticker := time.NewTicker(savePeriod)
	defer ticker.Stop()
	for {
		r.load(ctx)
		r.save(ctx)
		select {
		case <-r.undeclared:
			r.declareKnown(ctx)
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Registry) setLoading(loading bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loading = loading
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
	return broker.Subscription{Queue: r.cfg.Names.Requests(), Prefetch: requestPrefetch, MaxBatch: requestBatch, Handle: r.handleRequests}
}

// Beats consumes workers' heartbeats from this gateway's own queue.
func (r *Registry) Beats() broker.Subscription {
	return broker.Subscription{
		Queue:      r.cfg.Names.Beats(r.cfg.GatewayID),
		DeclareOwn: r.declareBeats,
		Prefetch:   beatPrefetch, MaxBatch: beatBatch, Handle: r.handleBeats,
	}
}

// declareBeats declares a queue for heartbeats: the one before went with its
// connection, and until now none arrived.
func (r *Registry) declareBeats(t *broker.Topology) (string, error) {
	id := fmt.Sprintf("%s.%d", r.cfg.GatewayID, r.beats.Add(1))
	if err := t.DeclareBeats(id); err != nil {
		return "", err
	}
	r.cfg.Control.Listening(time.Now())
	return r.cfg.Names.Beats(id), nil
}

// Package queues says how the queues of task types stand: what RabbitMQ tells over
// AMQP and, where the gateway has one, over its management API, and what the store
// and workers' heartbeats add to that. What can't be learned is left out, and said.
package queues

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/management"
)

// Bounds of one reading.
const (
	// brokerTimeout is for the answers over AMQP, a connection included.
	brokerTimeout = 3 * time.Second
	// managementTimeout is for those of the management API.
	managementTimeout = 3 * time.Second
	// listTimeout is for the store's answers about all queues of a list.
	listTimeout = time.Second
)

// Topology asks the broker on an open connection.
type Topology interface {
	Do(ctx context.Context, f func(*broker.Topology) error) error
}

// Management is RabbitMQ's management API.
type Management interface {
	Loads(ctx context.Context, pattern string) (map[string]management.Load, error)
}

// Store knows the tasks of a type, as store.Store says.
type Store interface {
	Queued(ctx context.Context, taskType string) (retrying int64, oldest time.Time, known bool, err error)
	CountScheduled(ctx context.Context, taskType string) (int64, error)
}

// Config is what a reader needs.
type Config struct {
	Names    broker.Names
	Topology Topology
	// Management is nil if the gateway has none.
	Management Management
	Store      Store
}

// Reader reads the numbers of queues.
type Reader struct{ cfg Config }

// New makes a reader.
func New(cfg Config) *Reader { return &Reader{cfg} }

// Type is a task type whose queue is read.
type Type struct {
	Name string
	// MaxLength is its queue's length limit; 0 is none.
	MaxLength int64
	// Finished is how many handlers end per second; nil if that is not known.
	Finished *float64
}

// List gives the queues of types, in their order, without what takes long to learn.
// It fails if the broker does not answer, with all else it goes on.
func (r *Reader) List(ctx context.Context, types []Type) ([]*adminv1.Queue, error) {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Name
	}
	states, err := r.States(ctx, names)
	if err != nil {
		return nil, err
	}
	loads := r.loads(ctx, management.Beginning(r.cfg.Names.Work("")))
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	out := make([]*adminv1.Queue, len(types))
	for i, t := range types {
		reading := r.reading(t, states[i])
		reading.load(loads)
		if reading.queue.Retrying == nil {
			retrying, _, _, err := r.cfg.Store.Queued(ctx, t.Name)
			reading.retrying(retrying, err)
		}
		out[i] = reading.end(t)
	}
	return out, nil
}

// Get gives the queue of a type with all that can be learned. It fails if the broker
// does not answer, with all else it goes on.
func (r *Reader) Get(ctx context.Context, t Type) (*adminv1.Queue, error) {
	states, err := r.States(ctx, []string{t.Name})
	if err != nil {
		return nil, err
	}
	reading := r.reading(t, states[0])
	reading.load(r.loads(ctx, management.Exactly(reading.queue.Name)))
	retrying, oldest, known, err := r.cfg.Store.Queued(ctx, t.Name)
	if err == nil || reading.queue.Retrying == nil {
		reading.retrying(retrying, err)
	}
	reading.age(oldest, known, err)
	scheduled, err := r.cfg.Store.CountScheduled(ctx, t.Name)
	reading.scheduled(scheduled, err)
	return reading.end(t), nil
}

func (r *Reader) reading(t Type, s State) *reading {
	q := &adminv1.Queue{
		TaskType: t.Name, Name: r.cfg.Names.Work(t.Name), MaxLength: t.MaxLength, AcknowledgeRate: t.Finished, Time: timestamppb.Now(),
	}
	out := &reading{queue: q}
	if s.Missing {
		out.unknown("ready, consumers", "RabbitMQ has no queue "+q.Name+
			"; it is declared anew when a task of the type is submitted, or a worker of it registers")
		return out
	}
	ready, consumers := int64(s.Ready), int64(s.Consumers)
	q.Ready, q.Consumers = &ready, &consumers
	return out
}

// loads are what the management API says.
func (r *Reader) loads(ctx context.Context, pattern string) answer {
	if r.cfg.Management == nil {
		return answer{missing: "start the gateway with --management-url"}
	}
	ctx, cancel := context.WithTimeout(ctx, managementTimeout)
	defer cancel()
	loads, err := r.cfg.Management.Loads(ctx, pattern)
	if err != nil {
		return answer{missing: "--management-url does not answer as it should: " + err.Error()}
	}
	return answer{loads: loads}
}

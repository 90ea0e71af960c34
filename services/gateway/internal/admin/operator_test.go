package admin

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// steered stands for control and the queues.
type steered struct {
	unloaded bool
	workers  []control.Worker
	// set are the calls that set something, err what they answer.
	set []string
	err error
	// pause, scale and slots are what was set last.
	pause *brokerv1.Pause
	scale *brokerv1.Autoscale
	slots int
	// drained are the workers that were.
	drained []string

	asked    []queues.Type
	states   []queues.State
	queueErr error
}

func (s *steered) Loaded() bool              { return !s.unloaded }
func (s *steered) Workers() []control.Worker { return s.workers }

func (s *steered) Worker(id string) (control.Worker, bool) {
	i := slices.IndexFunc(s.workers, func(w control.Worker) bool { return w.Identity.WorkerId == strings.ToLower(id) })
	if i < 0 {
		return control.Worker{}, false
	}
	return s.workers[i], true
}

func (s *steered) TypeControl(taskType, workerID string) *adminv1.TypeControl {
	return &adminv1.TypeControl{TaskType: taskType, WorkerId: workerID, Reason: "set before"}
}

func (s *steered) SetPause(_ context.Context, taskType string, p *brokerv1.Pause, reason string) (*adminv1.TypeControl, error) {
	s.pause, s.set = p, append(s.set, taskType)
	return &adminv1.TypeControl{TaskType: taskType, Paused: p != nil, Reason: reason}, s.err
}

func (s *steered) SetConcurrency(_ context.Context, taskType, workerID string, n int, a *brokerv1.Autoscale, reason string) (*adminv1.TypeControl, error) {
	s.slots, s.scale, s.set = n, a, append(s.set, taskType+" "+workerID)
	return &adminv1.TypeControl{TaskType: taskType, WorkerId: workerID, Concurrency: int32(n), Reason: reason}, s.err
}

func (s *steered) Drain(_ context.Context, workerID, reason string) error {
	s.drained = append(s.drained, workerID+" "+reason)
	return s.err
}

func (s *steered) Cancel(context.Context, []string, string) ([]store.CancelAnswer, error) {
	return nil, s.err
}
func (s *steered) AwaitCancelled(context.Context, []string) {}

func (s *steered) States(context.Context, []string) ([]queues.State, error) {
	return s.states, s.queueErr
}

func (s *steered) List(_ context.Context, types []queues.Type) ([]*adminv1.Queue, error) {
	s.asked = types
	var out []*adminv1.Queue
	for _, t := range types {
		out = append(out, &adminv1.Queue{TaskType: t.Name, MaxLength: t.MaxLength, AcknowledgeRate: t.Finished})
	}
	return out, s.queueErr
}

func (s *steered) Get(ctx context.Context, t queues.Type) (*adminv1.Queue, error) {
	out, err := s.List(ctx, []queues.Type{t})
	return out[0], err
}

// newOperator is a fixture whose service has control and queues.
func newOperator(t testing.TB) (*fixture, *steered) {
	t.Helper()
	f, s := newFixture(t), &steered{states: []queues.State{{}}}
	f.cfg.Control, f.cfg.Queues = s, s
	return f, s
}

// workerID is that of the n-th worker.
func workerID(n int) string { return "0190a000-0000-7000-8000-00000000000" + string(rune('0'+n)) }

func workerOf(n int, state adminv1.WorkerState, types ...string) control.Worker {
	w := control.Worker{
		Identity: &brokerv1.WorkerIdentity{WorkerId: workerID(n), Host: "host", Pid: 7, Version: "v1"}, State: state, Note: "a note", Seen: time.Now(),
		Beat: &brokerv1.Heartbeat{Running: []*brokerv1.RunningTask{{TaskId: "t", Type: typeDelay, Run: 1, Attempt: 2}}},
	}
	for _, name := range types {
		w.Types = append(w.Types, &adminv1.WorkerType{TaskType: name, SucceededRate: 2, FailedRate: 1})
	}
	return w
}

package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// platform stands for the workers, what is cancelled, and the queues.
type platform struct {
	Control
	loaded      bool
	workers     []control.Worker
	set         *adminv1.TypeControl
	outstanding *store.Cancellation
	state       queues.State
	stateErr    error
	asked       int
}

func (p *platform) Loaded() bool                                    { return p.loaded }
func (p *platform) Workers() []control.Worker                       { return p.workers }
func (p *platform) TypeControl(string, string) *adminv1.TypeControl { return p.set }
func (p *platform) WaitingFor(string, int64) []string               { return []string{"worker 1"} }
func (p *platform) CancellingOn(string) []string                    { return []string{"its handler"} }

func (p *platform) Outstanding(string) (store.Cancellation, bool) {
	if p.outstanding == nil {
		return store.Cancellation{}, false
	}
	return *p.outstanding, true
}

func (p *platform) States(_ context.Context, taskTypes []string) ([]queues.State, error) {
	p.asked += len(taskTypes)
	return []queues.State{p.state}, p.stateErr
}

// workerThatRuns is one of the tests' type.
func workerThatRuns(state adminv1.WorkerState, taskID string) control.Worker {
	return control.Worker{
		Identity: &brokerv1.WorkerIdentity{WorkerId: workerOne, Host: "host-1", Version: "v1"}, State: state, Seen: time.Now(),
		Beat:  &brokerv1.Heartbeat{Running: []*brokerv1.RunningTask{{TaskId: taskID}}},
		Types: []*adminv1.WorkerType{{TaskType: "acme.v1.Other.Do"}, {TaskType: typeDelay, ActualConcurrency: 4, Running: 2}},
	}
}

// unreadable is a store that has lost its histories.
type unreadable struct{ store.Store }

func (unreadable) History(context.Context, string) ([]task.NumberedEvent, error) {
	return nil, store.ErrUnavailable
}

func newExplainer(t testing.TB, p *platform, edit ...func(*Config)) (*TaskService, store.Store) {
	t.Helper()
	return newService(t, &fakes{}, append([]func(*Config){func(c *Config) { c.Control, c.Fleet, c.Queues = p, p, p }}, edit...)...)
}

func explain(t testing.TB, s *TaskService, id string) *taskv1.ExplainTaskResponse {
	t.Helper()
	answer, err := s.ExplainTask(t.Context(), &taskv1.ExplainTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.Equal(t, id, answer.Task.TaskId)
	return answer
}

// unknownOf are the sources that did not answer.
func unknownOf(answer *taskv1.ExplainTaskResponse) (unknown []taskv1.FactSource) {
	for _, f := range answer.Facts {
		if f.Kind == taskv1.FactKind_FACT_KIND_UNKNOWN {
			unknown = append(unknown, f.Source)
		}
	}
	return unknown
}

func requireKind(t testing.TB, answer *taskv1.ExplainTaskResponse, kind taskv1.FactKind, text string) {
	t.Helper()
	for _, f := range answer.Facts {
		if f.Kind == kind {
			require.Contains(t, f.Text, text)
			return
		}
	}
	t.Fatalf("no %s among %v", kind, answer.Facts)
}

func TestExplainTask(t *testing.T) {
	t.Parallel()
	p := &platform{loaded: true, state: queues.State{WorkState: broker.WorkState{Ready: 3}}}
	service, s := newExplainer(t, p)
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued))
	answer := explain(t, service, id)
	require.Equal(t, "It waits in its queue: no worker of the type is live.", answer.Summary)
	require.EqualValues(t, 2, answer.Position.AtMost)

	p.workers = []control.Worker{
		workerThatRuns(adminv1.WorkerState_WORKER_STATE_LIVE, id), workerThatRuns(adminv1.WorkerState_WORKER_STATE_GONE, ""),
	}
	answer = explain(t, service, id)
	require.Equal(t, "It waits in its queue: slots are free, and from 0 to 3 tasks are ahead of it.", answer.Summary)
	require.Equal(t, 2, p.asked)

	started := event(id, 1, 1, task.PhaseStarted)
	started.WorkerID = workerOne
	apply(t, s, started)
	answer = explain(t, service, id)
	require.Contains(t, answer.Summary, "Attempt 1 runs on worker "+workerOne+", since ")
	requireKind(t, answer, taskv1.FactKind_FACT_KIND_WORKERS, "runs it, as it said")
	require.Equal(t, 2, p.asked, "the queue does not matter any more")
	p.outstanding = &store.Cancellation{TaskID: id, Run: 1, Reason: "why not", Time: time.Now()}
	answer = explain(t, service, id)
	require.Contains(t, answer.Summary, "(why not) and waits for: worker 1; its handler")
	p.outstanding.Run = 0
	require.NotContains(t, explain(t, service, id).Summary, "cancel", "that was another run")

	apply(t, s, event(id, 1, 1, task.PhaseSucceeded))
	answer = explain(t, service, id)
	require.Contains(t, answer.Summary, "It SUCCEEDED")
	require.Empty(t, answer.Actions)

	_, err := service.ExplainTask(t.Context(), &taskv1.ExplainTaskRequest{TaskId: task.NewID()})
	requireReason(t, err, codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND)
}

// Each source that does not answer is one unknown fact, and no more.
func TestExplainTaskWithoutItsSources(t *testing.T) {
	t.Parallel()
	p := &platform{stateErr: errors.New("no connection")}
	service, s := newExplainer(t, p, func(c *Config) { c.Store = unreadable{c.Store} })
	id := task.NewID()
	e := event(id, 1, 0, task.PhaseQueued)
	e.Type = "acme.v1.Unknown.Do"
	apply(t, s, e)
	answer := explain(t, service, id)
	require.Equal(t, "It waits in its queue; this gateway does not know its workers yet.", answer.Summary)
	unknown := unknownOf(answer)
	require.Equal(t, []taskv1.FactSource{fromStore, fromOptions, fromHeartbeats, fromBroker}, unknown)
	require.Nil(t, answer.Position)

	// What ended needs no one but the store.
	e = event(id, 1, 1, task.PhaseCancelled)
	e.Type = "acme.v1.Unknown.Do"
	apply(t, s, e)
	unknown = unknownOf(explain(t, service, id))
	require.Equal(t, []taskv1.FactSource{fromStore, fromOptions}, unknown)
}

// TestExplainAnOverdueTask: what keeps it from its queue is asked for, once its time
// has come.
func TestExplainAnOverdueTask(t *testing.T) {
	t.Parallel()
	p := &platform{loaded: true, stateErr: errors.New("no connection")}
	f := &fakes{}
	now := time.UnixMicro(1e15).UTC()
	service, s := newService(t, f, func(c *Config) {
		c.Control, c.Fleet, c.Queues, c.Clock = p, p, p, func() time.Time { return now }
	})
	id := task.NewID()
	e := event(id, 1, 0, task.PhaseQueued)
	e.Key.Phase, e.ScheduleTime, e.Head = task.PhaseScheduled, now.Add(time.Minute), &task.Head{CreateTime: now, Priority: 4}
	_, err := s.Schedule(t.Context(), []store.Scheduled{{Event: e, Message: []byte{1}}})
	require.NoError(t, err)
	require.Contains(t, explain(t, service, id).Summary, "It waits for its time")
	require.Zero(t, p.asked)
	now, f.notReady = now.Add(time.Hour), broker.ErrNotSent
	answer := explain(t, service, id)
	require.Contains(t, answer.Summary, "can't put it into its queue yet: RabbitMQ takes nothing from this gateway now")
	require.Equal(t, []taskv1.FactSource{fromBroker}, unknownOf(answer))
	require.Equal(t, 1, p.asked)
}

package api

import (
	"context"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
)

// Fleet knows the workers and what operators have set of types, as control.Control
// does.
type Fleet interface {
	Loaded() bool
	Workers() []control.Worker
	TypeControl(taskType, workerID string) *adminv1.TypeControl
}

// Queues asks the broker for the queues of task types, as queues.Reader does.
type Queues interface {
	States(ctx context.Context, taskTypes []string) ([]queues.State, error)
}

// explainTime bounds what is asked of others than the store.
const explainTime = 3 * time.Second

// ExplainTask implements warren.task.v1.TaskService. What can't be learned is said,
// and costs no more than that.
func (s *TaskService) ExplainTask(ctx context.Context, r *taskv1.ExplainTaskRequest) (*taskv1.ExplainTaskResponse, error) {
	t, err := s.read(ctx, r.TaskId)
	if err != nil {
		return nil, err
	}
	sit := s.situationOf(ctx, t)
	return &taskv1.ExplainTaskResponse{
		Task: s.basic(&t), Summary: sit.summary(), Facts: sit.facts(),
		StartNotBefore: sit.startNotBefore(), Position: sit.position(), Actions: sit.actions(),
	}, nil
}

// situationOf gathers what is known of a task.
func (s *TaskService) situationOf(ctx context.Context, t task.Task) *situation {
	sit := &situation{now: s.cfg.Clock(), task: t}
	problem := func(text string, source taskv1.FactSource) {
		sit.problems = append(sit.problems, unknown(text, source, sit.now))
	}
	var err error
	if sit.history, err = s.cfg.Store.History(ctx, t.ID); err != nil {
		logOf(s.cfg.Logger, &t).WarnContext(ctx, "a task is explained without its history", "error", err)
		problem("how its attempts ended: the gateway's store does not answer now", taskv1.FactSource_FACT_SOURCE_STORE)
	}
	sit.records = task.Records(sit.history)
	var ok bool
	if sit.options, _, ok = s.cfg.Types.Effective(t.Type); !ok {
		problem("its type's options: this gateway does not know the type "+t.Type, taskv1.FactSource_FACT_SOURCE_OPTIONS)
	}
	if t.State.Terminal() {
		return sit
	}
	sit.control = s.cfg.Fleet.TypeControl(t.Type, "")
	if sit.fleet = crewsOf(s.cfg.Fleet, &t); !sit.fleet.known {
		problem("its workers, pauses and cancellations: this gateway was started a moment ago, or its store does not answer",
			taskv1.FactSource_FACT_SOURCE_HEARTBEATS)
	}
	if c, ok := s.cfg.Control.Outstanding(t.ID); ok && c.Run == t.Run {
		sit.cancellation = &c
		sit.cancelWaits = append(s.cfg.Control.WaitingFor(c.Type, c.Position), s.cfg.Control.CancellingOn(t.ID)...)
	}
	s.lookAtQueue(ctx, sit, problem)
	return sit
}

// lookAtQueue asks the broker, if that matters.
func (s *TaskService) lookAtQueue(ctx context.Context, sit *situation, problem func(string, taskv1.FactSource)) {
	switch _, ahead := sit.due(); {
	case sit.task.State == task.StateQueued, sit.task.State == task.StateRetrying:
	case sit.task.State == task.StateScheduled && !ahead:
		sit.away = s.cfg.Publisher.Ready() != nil
	default:
		return
	}
	ctx, cancel := beforeDeadline(ctx, explainTime)
	defer cancel()
	states, err := s.cfg.Queues.States(ctx, []string{sit.task.Type})
	if err != nil {
		logOf(s.cfg.Logger, &sit.task).WarnContext(ctx, "a task is explained without its queue", "error", err)
		problem("how many tasks wait in its queue: RabbitMQ does not answer now", taskv1.FactSource_FACT_SOURCE_BROKER)
		return
	}
	sit.queue = &states[0]
}

// crewsOf are the workers of a task's type.
func crewsOf(f Fleet, t *task.Task) fleet {
	out := fleet{known: f.Loaded()}
	for _, w := range f.Workers() {
		if w.State == adminv1.WorkerState_WORKER_STATE_GONE {
			continue
		}
		for _, wt := range w.Types {
			if wt.GetTaskType() == t.Type {
				out.workers = append(out.workers, crewOf(&w, wt, t.ID))
			}
		}
	}
	return out
}

func crewOf(w *control.Worker, t *adminv1.WorkerType, taskID string) crew {
	c := crew{
		id: w.Identity.GetWorkerId(), host: w.Identity.GetHost(), version: w.Identity.GetVersion(),
		state: w.State, note: w.Note, seen: w.Seen,
		slots: int(t.GetActualConcurrency()), running: int(t.GetRunning()), paused: t.GetPaused(),
	}
	for _, r := range w.Beat.GetRunning() {
		c.has = c.has || r.GetTaskId() == taskID
	}
	return c
}

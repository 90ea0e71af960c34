package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// situation is what is known of a task that is to be explained.
type situation struct {
	now     time.Time
	task    task.Task
	history []task.NumberedEvent
	// records are the executions in the history.
	records []task.Record
	// options are those in force for its type; nil if the type is not known here.
	options *taskv1.TaskOptions
	// control is what operators have set of its type; nil for nothing.
	control *adminv1.TypeControl
	// fleet are the workers that serve its type, but for those that are gone.
	fleet fleet
	// cancellation is the one outstanding, nil for none, and cancelWaits what it waits
	// for.
	cancellation *store.Cancellation
	cancelWaits  []string
	// queue is how its queue stands; nil if that was not asked for, or not answered.
	queue *queues.State
	// away says that RabbitMQ takes no messages, where that keeps the task from its queue.
	away bool
	// problems are what could not be learned.
	problems []*taskv1.Fact
}

// fleet are workers of one task type.
type fleet struct {
	// known says that this gateway has heard of workers for long enough.
	known   bool
	workers []crew
}

// crew is what one worker does of a task type.
type crew struct {
	id, host, version string
	state             adminv1.WorkerState
	// note says why it is in that state.
	note string
	seen time.Time
	// slots, and those in use.
	slots, running int
	// paused says that it takes no tasks of the type.
	paused bool
	// has says that it runs the very task.
	has bool
}

// name is for people.
func (c *crew) name() string { return nameOf(c.id, c.host) }

func nameOf(workerID, host string) string {
	if host == "" {
		return "worker " + workerID
	}
	return "worker " + workerID + " on " + host
}

// live says whether it is heard of.
func (c *crew) live() bool {
	switch c.state {
	case adminv1.WorkerState_WORKER_STATE_LIVE, adminv1.WorkerState_WORKER_STATE_PAUSED, adminv1.WorkerState_WORKER_STATE_DRAINING:
		return true
	}
	return false
}

// takes says whether it takes tasks of the type.
func (c *crew) takes() bool { return c.state == adminv1.WorkerState_WORKER_STATE_LIVE && !c.paused }

// prefetch is about how many tasks it fetches besides those that run: by default a
// quarter of its slots, and one at least.
func (c *crew) prefetch() int { return max(c.slots/4, 1) }

// live are the workers that are heard of.
func (f *fleet) live() []crew { return f.which((*crew).live) }

// taking are the workers that take tasks.
func (f *fleet) taking() []crew { return f.which((*crew).takes) }

func (f *fleet) which(is func(*crew) bool) (out []crew) {
	for i := range f.workers {
		if is(&f.workers[i]) {
			out = append(out, f.workers[i])
		}
	}
	return out
}

// worker is the one with the id, nil if it is not known.
func (f *fleet) worker(id string) *crew {
	for i := range f.workers {
		if f.workers[i].id == id {
			return &f.workers[i]
		}
	}
	return nil
}

// heard is when the workers were last heard of.
func (f *fleet) heard() (t time.Time) {
	for _, c := range f.workers {
		if c.seen.After(t) {
			t = c.seen
		}
	}
	return t
}

// slots counts those of workers, and those in use.
func slots(workers []crew) (all, running int) {
	for _, c := range workers {
		all, running = all+c.slots, running+c.running
	}
	return all, running
}

// paused says whether operators have paused the type now.
func (s *situation) paused() bool {
	until := s.control.GetPauseUntil()
	return s.control.GetPaused() && (until == nil || until.AsTime().After(s.now))
}

// expired says whether no attempt starts any more.
func (s *situation) expired() bool {
	return !s.task.ExpireTime.IsZero() && !s.task.ExpireTime.After(s.now)
}

// due is when the task was to wait for, and whether it does still.
func (s *situation) due() (at time.Time, ahead bool) {
	switch s.task.State {
	case task.StateScheduled:
		at = s.task.ScheduleTime
	case task.StateRetrying:
		at = s.task.NextAttemptTime
	}
	return at, at.After(s.now)
}

// overdue says whether its time has come and it is not in its queue yet.
func (s *situation) overdue() bool {
	_, ahead := s.due()
	return s.task.State == task.StateScheduled && !ahead
}

// startNotBefore is the earliest time at which it starts, nil if that is not known.
func (s *situation) startNotBefore() *timestamppb.Timestamp {
	at, ahead := s.due()
	if !ahead {
		at = s.now
	}
	switch until := s.control.GetPauseUntil(); {
	case s.task.State.Terminal(), s.task.State == task.StateRunning, s.cancellation != nil, s.expired():
		return nil
	case s.paused() && until == nil:
		return nil
	case s.paused() && until.AsTime().After(at):
		at, ahead = until.AsTime(), true
	}
	if !ahead || !s.task.ExpireTime.IsZero() && !at.Before(s.task.ExpireTime) {
		return nil
	}
	return timestamp(at)
}

// present are the executions of the present run.
func (s *situation) present() []task.Record {
	for i := range s.records {
		if s.records[i].Key.Run == s.task.Run {
			return s.records[i:]
		}
	}
	return nil
}

// last is the latest execution of the present run, nil for none.
func (s *situation) last() *task.Record {
	if records := s.present(); len(records) > 0 {
		return &records[len(records)-1]
	}
	return nil
}

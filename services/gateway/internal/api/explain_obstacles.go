package api

import (
	"fmt"
	"strings"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// obstacles are what keeps, or would keep, a task from being started, the gravest
// first. Their texts are parts of a sentence.
func (s *situation) obstacles() []*taskv1.Fact {
	var out []*taskv1.Fact
	for _, look := range []func() *taskv1.Fact{
		s.cancelling, s.tooLate, s.rabbitAway, s.queueFull, s.queueMissing, s.typePaused, s.noWorker, s.noneTakes, s.busy,
	} {
		if f := look(); f != nil {
			out = append(out, f)
		}
	}
	return out
}

func texts(facts []*taskv1.Fact) []string {
	out := make([]string, len(facts))
	for i, f := range facts {
		out[i] = f.Text
	}
	return out
}

func (s *situation) cancelling() *taskv1.Fact {
	c := s.cancellation
	if c == nil {
		return nil
	}
	text := fmt.Sprintf("its cancellation was asked for at %s%s", s.ago(c.Time), because(c.Reason))
	if len(s.cancelWaits) == 0 {
		text += " and is about to take effect"
	} else {
		text += " and waits for: " + strings.Join(s.cancelWaits, "; ")
	}
	return fact(taskv1.FactKind_FACT_KIND_CANCELLATION, text, taskv1.FactSource_FACT_SOURCE_STORE, c.Time)
}

func (s *situation) tooLate() *taskv1.Fact {
	if !s.expired() {
		return nil
	}
	return fact(taskv1.FactKind_FACT_KIND_EXPIRY,
		fmt.Sprintf("its expire time has passed, %s: no attempt starts any more, and it becomes a dead letter when its message is met", s.ago(s.task.ExpireTime)),
		taskv1.FactSource_FACT_SOURCE_STORE, s.task.ExpireTime)
}

// rabbitAway keeps an overdue task from its queue.
func (s *situation) rabbitAway() *taskv1.Fact {
	if !s.away || !s.overdue() {
		return nil
	}
	return fact(taskv1.FactKind_FACT_KIND_QUEUE, "RabbitMQ takes nothing from this gateway now", taskv1.FactSource_FACT_SOURCE_BROKER, s.now)
}

// queueFull keeps an overdue task from its queue, unless it becomes a dead letter then.
func (s *situation) queueFull() *taskv1.Fact {
	limit := s.options.GetQueueLimit()
	if !s.overdue() || s.queue == nil || limit.GetMaxLength() <= 0 || int64(s.queue.Ready) < limit.GetMaxLength() ||
		limit.GetOverflow() == taskv1.Overflow_OVERFLOW_DEAD_LETTER {
		return nil
	}
	return fact(taskv1.FactKind_FACT_KIND_QUEUE, fmt.Sprintf("its queue is at its limit of %d waiting tasks", limit.GetMaxLength()),
		taskv1.FactSource_FACT_SOURCE_BROKER, s.now)
}

func (s *situation) queueMissing() *taskv1.Fact {
	if s.queue == nil || !s.queue.Missing || s.overdue() {
		return nil // an overdue task is put into its queue, which is declared anew for it
	}
	return fact(taskv1.FactKind_FACT_KIND_QUEUE, "RabbitMQ has no queue for its type: somebody has deleted it, and its message with it",
		taskv1.FactSource_FACT_SOURCE_BROKER, s.now)
}

func (s *situation) typePaused() *taskv1.Fact {
	if !s.paused() {
		return nil
	}
	since := s.control.GetPauseTime().AsTime()
	text := fmt.Sprintf("operators have paused %s since %s%s", s.task.Type, when(since), because(s.control.GetPauseReason()))
	if until := s.control.GetPauseUntil(); until != nil {
		text += ", until " + s.ahead(until.AsTime())
	}
	return fact(taskv1.FactKind_FACT_KIND_PAUSED, text, taskv1.FactSource_FACT_SOURCE_OPERATOR, since)
}

func (s *situation) noWorker() *taskv1.Fact {
	if !s.fleet.known || len(s.fleet.live()) > 0 {
		return nil
	}
	text := "no worker of the type is live"
	var silent []string
	for i := range s.fleet.workers {
		if c := &s.fleet.workers[i]; c.state == adminv1.WorkerState_WORKER_STATE_SILENT {
			silent = append(silent, c.name()+" was last heard of "+span(s.now.Sub(c.seen))+" ago")
		}
	}
	if len(silent) > 0 {
		text += " (" + strings.Join(silent, "; ") + ")"
	}
	return fact(taskv1.FactKind_FACT_KIND_NO_WORKER, text, taskv1.FactSource_FACT_SOURCE_HEARTBEATS, s.now)
}

// noneTakes looks for live workers of which none takes tasks.
func (s *situation) noneTakes() *taskv1.Fact {
	live := s.fleet.live()
	if len(live) == 0 || len(s.fleet.taking()) > 0 || s.paused() {
		return nil
	}
	why := make([]string, len(live))
	for i := range live {
		c := &live[i]
		why[i] = c.name() + " takes none"
		if c.state == adminv1.WorkerState_WORKER_STATE_DRAINING {
			why[i] = c.name() + " drains"
		}
		why[i] += because(c.note)
	}
	return fact(taskv1.FactKind_FACT_KIND_PAUSED, "no live worker of the type takes tasks: "+strings.Join(why, "; "),
		taskv1.FactSource_FACT_SOURCE_HEARTBEATS, s.fleet.heard())
}

// busy looks for workers whose slots are all in use.
func (s *situation) busy() *taskv1.Fact {
	taking := s.fleet.taking()
	all, running := slots(taking)
	if len(taking) == 0 || running < all || s.task.State == task.StateRunning {
		return nil
	}
	return fact(taskv1.FactKind_FACT_KIND_WORKERS, fmt.Sprintf("all %s of its %s are in use", count(all, "slot", "slots"), count(len(taking), "worker", "workers")),
		taskv1.FactSource_FACT_SOURCE_HEARTBEATS, s.fleet.heard())
}

package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

func fact(kind taskv1.FactKind, text string, source taskv1.FactSource, t time.Time) *taskv1.Fact {
	return &taskv1.Fact{Kind: kind, Text: text, Source: source, Time: timestamp(t)}
}

// unknown is that something could not be learned.
func unknown(text string, source taskv1.FactSource, now time.Time) *taskv1.Fact {
	return fact(taskv1.FactKind_FACT_KIND_UNKNOWN, text, source, now)
}

// facts are what is known, the most important first.
func (s *situation) facts() []*taskv1.Fact {
	out := []*taskv1.Fact{s.standing()}
	add := func(facts ...*taskv1.Fact) {
		for _, f := range facts {
			if f != nil {
				out = append(out, f)
			}
		}
	}
	if s.task.State.Terminal() {
		add(s.deadLetter(), s.cancelled(), s.decided(), s.attempts(), s.limits())
		return append(out, s.problems...)
	}
	add(s.obstacles()...)
	add(s.time(), s.place(), s.manned(), s.decided(), s.attempts(), s.limits(), s.expires(), s.versions())
	return append(out, s.problems...)
}

// standing is the state.
func (s *situation) standing() *taskv1.Fact {
	t := &s.task
	text := fmt.Sprintf("%s since %s", t.State, s.ago(t.UpdateTime))
	switch {
	case t.State == task.StateScheduled && t.ScheduleID != "":
		text += ", submitted by the schedule " + t.ScheduleID
	case t.State == task.StateQueued && t.Decided.Phase == task.PhaseReleased:
		text += fmt.Sprintf(": a worker gave it back, attempt %d is not spent", t.Decided.Attempt)
	case t.State == task.StateQueued && t.Decided.Phase == task.PhaseLost:
		text += fmt.Sprintf(": the worker that ran attempt %d lost its connection, and RabbitMQ delivers it again", t.Decided.Attempt)
	}
	if t.Run > 1 {
		text += fmt.Sprintf("; run %d: it was replayed", t.Run)
	}
	return fact(taskv1.FactKind_FACT_KIND_STATE, text, taskv1.FactSource_FACT_SOURCE_STORE, t.UpdateTime)
}

// time is what it waits for by the clock.
func (s *situation) time() *taskv1.Fact {
	at, ahead := s.due()
	var text string
	switch retries := s.task.State == task.StateRetrying; {
	case s.task.State == task.StateRunning && s.options != nil && !s.task.StartTime.IsZero():
		limit := s.options.GetTimeout().AsDuration()
		return fact(taskv1.FactKind_FACT_KIND_TIME, fmt.Sprintf("attempt %d may take %s, until %s; less if its submission asked for less",
			s.task.Attempt, span(limit), when(s.task.StartTime.Add(limit))), taskv1.FactSource_FACT_SOURCE_OPTIONS, s.now)
	case at.IsZero():
		return nil
	case retries && ahead:
		text = "its next attempt is due at " + s.ahead(at)
	case retries:
		text = "its next attempt was due at " + s.ago(at)
	case ahead:
		text = "it is put into its queue at " + s.ahead(at)
	case s.rabbitAway() != nil || s.queueFull() != nil:
		text = "its time came at " + s.ago(at) + ", and the gateway puts it into its queue as soon as it can"
	default:
		text = "its time came at " + s.ago(at) + ", and the gateway is putting it into its queue"
	}
	return fact(taskv1.FactKind_FACT_KIND_TIME, text, taskv1.FactSource_FACT_SOURCE_STORE, s.task.UpdateTime)
}

// position is how many are ahead of it; nil if that is not known.
func (s *situation) position() *taskv1.QueuePosition {
	if s.task.State != task.StateQueued || s.queue == nil || s.queue.Missing || !s.fleet.known {
		return nil
	}
	return &taskv1.QueuePosition{AtMost: int64(max(s.queue.Ready-1, 0) + s.fetched())}
}

// fetched is about how many tasks workers have fetched and not started.
func (s *situation) fetched() (n int) {
	for _, c := range s.fleet.live() {
		n += c.prefetch()
	}
	return n
}

func (s *situation) place() *taskv1.Fact {
	p := s.position()
	if p == nil {
		return nil
	}
	text := fmt.Sprintf("%s in its queue", count(s.queue.Ready, "task waits", "tasks wait"))
	if s.queue.Ready == 0 {
		text = "its queue is empty: a worker has fetched it, or it is being told of at this moment"
	}
	text += fmt.Sprintf(", and workers have fetched up to about %d besides, so that from %d to %d are ahead of it;"+
		" those with a higher priority go first, whenever they came, and so do those that workers give back", s.fetched(), p.AtLeast, p.AtMost)
	return fact(taskv1.FactKind_FACT_KIND_QUEUE, text, taskv1.FactSource_FACT_SOURCE_BROKER, s.now)
}

// manned is who could work on it, or does.
func (s *situation) manned() *taskv1.Fact {
	live := s.fleet.live()
	if len(live) == 0 {
		return nil
	}
	all, running := slots(live)
	text := fmt.Sprintf("%s of its type %s live, with %s of which %d %s in use",
		count(len(live), "worker", "workers"), be(len(live)), count(all, "slot", "slots"), running, be(running))
	if s.task.State == task.StateRunning {
		if r := s.last(); r != nil {
			text = s.carrier(r) + "; " + text
		}
	}
	return fact(taskv1.FactKind_FACT_KIND_WORKERS, text, taskv1.FactSource_FACT_SOURCE_HEARTBEATS, s.fleet.heard())
}

// carrier is what is known of the worker that runs it.
func (s *situation) carrier(r *task.Record) string {
	c := s.fleet.worker(r.WorkerID)
	switch {
	case c == nil:
		return nameOf(r.WorkerID, r.Host) + ", which runs it, is gone or not known: if it does not end it, RabbitMQ delivers the task again"
	case !c.live():
		return c.name() + ", which runs it, was last heard of " + span(s.now.Sub(c.seen)) + " ago"
	case c.has:
		return c.name() + " runs it, as it said " + span(s.now.Sub(c.seen)) + " ago"
	}
	return c.name() + " started it, and did not list it among its oldest running tasks " + span(s.now.Sub(c.seen)) + " ago"
}

// expires is an expire time to come.
func (s *situation) expires() *taskv1.Fact {
	if s.task.ExpireTime.IsZero() || s.expired() {
		return nil
	}
	return fact(taskv1.FactKind_FACT_KIND_EXPIRY, "no attempt starts after "+s.ahead(s.task.ExpireTime), taskv1.FactSource_FACT_SOURCE_STORE, s.task.UpdateTime)
}

// versions is that several versions of workers serve the type.
func (s *situation) versions() *taskv1.Fact {
	counts := map[string]int{}
	for _, c := range s.fleet.live() {
		counts[c.version]++
	}
	if len(counts) < 2 {
		return nil
	}
	var parts []string
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s (%d)", v, counts[v]))
	}
	return fact(taskv1.FactKind_FACT_KIND_VERSION, "workers of several versions serve its type: "+strings.Join(parts, ", "),
		taskv1.FactSource_FACT_SOURCE_HEARTBEATS, s.fleet.heard())
}

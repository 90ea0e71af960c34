package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// ErrNoWorker says that no such worker is known, or that it is gone.
var ErrNoWorker = errors.New("no such worker is live")

// Worker is a worker as it is known here.
type Worker struct {
	Identity *brokerv1.WorkerIdentity
	State    adminv1.WorkerState
	// Note says, for people, why it is in that state; it may be empty.
	Note string
	// Beat is its last heartbeat, which must not be changed. Right after the worker, or
	// this gateway, was started, it has little.
	Beat *brokerv1.Heartbeat
	// Seen is when it was heard of last, by a gateway's clock.
	Seen time.Time
	// Types are what it serves, by name.
	Types []*adminv1.WorkerType
}

// Workers are the workers that are known, the newest first; those that are gone for
// an hour after they were heard of last.
func (c *Control) Workers() []Worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	out := make([]Worker, 0, len(c.workers))
	for _, w := range c.workers {
		out = append(out, c.show(w, now))
	}
	slices.SortFunc(out, func(a, b Worker) int { return cmp.Compare(b.Identity.WorkerId, a.Identity.WorkerId) })
	return out
}

// Worker is one of [Control.Workers]; false if it is none of them.
func (c *Control) Worker(id string) (Worker, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[spelled(id)]
	if w == nil {
		return Worker{}, false
	}
	return c.show(w, time.Now()), true
}

func (c *Control) show(w *worker, now time.Time) Worker {
	out := Worker{Identity: w.beat.Worker, Beat: w.beat, Seen: w.seen}
	out.State, out.Note = c.state(w, now)
	loads := map[string]*brokerv1.TypeLoad{}
	for _, l := range w.beat.Types {
		loads[l.Type] = l
	}
	for _, name := range slices.Sorted(maps.Keys(w.types)) {
		l, r := loads[name], w.rates.of(name)
		slots, by := c.desired(w.id, name, int(l.GetConfigured()))
		out.Types = append(out.Types, &adminv1.WorkerType{
			TaskType: name, DesiredConcurrency: int32(slots), DesiredBy: by,
			ActualConcurrency: l.GetConcurrency(), Running: l.GetRunning(), Paused: l.GetPaused(),
			StartedRate: r.started, SucceededRate: r.succeeded, FailedRate: r.failed,
		})
	}
	return out
}

// state is how a worker is, and why.
func (c *Control) state(w *worker, now time.Time) (adminv1.WorkerState, string) {
	silent := w.silentFor(now)
	switch {
	case !w.gone.IsZero() && w.beat.Goodbye:
		return adminv1.WorkerState_WORKER_STATE_GONE, "it said goodbye"
	case !w.gone.IsZero():
		return adminv1.WorkerState_WORKER_STATE_GONE, "it fell silent, and nobody reads its control queue any more, as far as that can be reached"
	case silent > maxSilence:
		return adminv1.WorkerState_WORKER_STATE_SILENT, fmt.Sprintf("nothing was heard of it for %s", silent.Round(time.Second))
	case w.beat.Draining:
		return adminv1.WorkerState_WORKER_STATE_DRAINING, "it finishes what runs and takes no more tasks"
	case w.beat.Paused != "":
		return adminv1.WorkerState_WORKER_STATE_PAUSED, w.beat.Paused
	case w.cut:
		return adminv1.WorkerState_WORKER_STATE_PAUSED, "it is cut off from its control queue, so that it takes no tasks"
	case w.position == 0:
		return adminv1.WorkerState_WORKER_STATE_PAUSED, "it takes no tasks before it was told what is cancelled"
	case allPaused(w.beat.Types):
		return adminv1.WorkerState_WORKER_STATE_PAUSED, "operators have paused all of its task types"
	}
	return adminv1.WorkerState_WORKER_STATE_LIVE, ""
}

func allPaused(loads []*brokerv1.TypeLoad) bool {
	return len(loads) > 0 && !slices.ContainsFunc(loads, func(l *brokerv1.TypeLoad) bool { return !l.Paused })
}

// Drain has a worker finish what it runs, and end: it is told so again with the answers
// to its heartbeats until it does. Errors: [ErrNoWorker]; the broker's, if it can't take
// the message now, with nothing asked for.
func (c *Control) Drain(ctx context.Context, workerID, reason string) error {
	id, request := spelled(workerID), &brokerv1.DrainRequest{Reason: reason}
	if !c.askToDrain(id, request) {
		return ErrNoWorker
	}
	if err := c.send(ctx, id, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Drain{Drain: request}}); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if w := c.workers[id]; w != nil && w.drain == request {
			w.drain = nil
		}
		return fmt.Errorf("tell worker %s to drain: %w", id, err)
	}
	return nil
}

// askToDrain notes what a worker is asked; false if it does not live.
func (c *Control) askToDrain(id string, request *brokerv1.DrainRequest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[id]
	if w == nil || !w.gone.IsZero() {
		return false
	}
	if !w.beat.GetDraining() {
		w.drain = request
	}
	return true
}

// Drains is what a worker was asked that a heartbeat shows it not to do yet; nil for
// nothing. It must not be changed.
func (c *Control) Drains(h *brokerv1.Heartbeat) *brokerv1.DrainRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[h.GetWorker().GetWorkerId()]
	if w == nil || h.GetDraining() {
		return nil
	}
	return w.drain
}

package control

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/wake"
)

// maxSilence is after how long without a heartbeat a worker counts as silent.
const maxSilence = 10 * time.Second

// worker is what is known of one.
type worker struct {
	id string
	// beat is the last heartbeat; it is never changed. That of a worker which has only
	// asked to sync is made of its request.
	beat *brokerv1.Heartbeat
	// types are those that it serves, by its heartbeat and its last SyncRequest.
	types, synced map[string]bool
	control       int32
	seen          time.Time
	// gone is since when it is known to start nothing; zero for not.
	gone time.Time
	// position is the one that it said it knows, told the one that it knows if nothing
	// of what it was told, at toldAt, got lost.
	position, told int64
	toldAt         time.Time
	// highest is the highest position that it ever said it knows.
	highest int64
	// busy are the tasks that it says it is cancelling, running those that run.
	busy, running map[uuid.UUID]bool
	// unread is since when its control queue was seen without a consumer, looked when
	// it was last looked at. Cut says that this was so for long enough.
	unread, looked time.Time
	cut            bool
	// asked is the number of the control queue that the broker is asked for just now; 0
	// for none.
	asked int
	// away is since when its control queue has been out of reach.
	away time.Time
	// drain is what it was asked and has not said yet that it does; nil for nothing.
	drain *brokerv1.DrainRequest
	// silent says that its silence was logged.
	silent bool
	rates  rates
	// saved is when it was last stored, unsaved that something worth it has changed.
	saved   time.Time
	unsaved bool
}

// counts says whether it may still start tasks, as far as is known: whether
// cancellations have to wait until it knows them.
func (w *worker) counts() bool { return w.gone.IsZero() && !w.cut }

// silentFor is how long nothing was heard of it.
func (w *worker) silentFor(now time.Time) time.Duration { return max(now.Sub(w.seen), 0) }

func (w *worker) host() string { return w.beat.GetWorker().GetHost() }

// Beat takes in a heartbeat.
func (c *Control) Beat(h *brokerv1.Heartbeat, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := h.GetWorker().GetWorkerId()
	w := c.workers[id]
	if w == nil {
		w = &worker{id: id, unsaved: true}
		c.workers[id] = w
	}
	if outdated(w, h) {
		return
	}
	c.noteReturn(w, h, now)
	w.take(h, now)
	w.rates.add(h.Types, now)
	if h.Goodbye {
		w.gone, w.unsaved, w.drain = now, true, nil
		c.cfg.Logger.Info("a worker has stopped", "worker_id", id, "host", h.Worker.Host)
	}
	if w.unsaved {
		wake.Signal(c.keepNow)
	}
	if c.book.waits() {
		wake.Signal(c.settleNow)
	}
}

// outdated says whether a heartbeat was sent before the last one, which said
// goodbye.
func outdated(w *worker, h *brokerv1.Heartbeat) bool {
	return w.beat.GetGoodbye() && !w.gone.IsZero() && !h.GetTime().AsTime().After(w.beat.GetTime().AsTime())
}

// noteReturn has a worker that counted as gone, or was silent, live again.
func (c *Control) noteReturn(w *worker, h *brokerv1.Heartbeat, now time.Time) {
	if !w.gone.IsZero() || w.silent {
		c.cfg.Logger.Info("a worker is back", "worker_id", w.id, "host", h.GetWorker().GetHost(), "silent_for", w.silentFor(now).Round(time.Millisecond))
	}
	if !w.gone.IsZero() {
		w.gone, w.unsaved = time.Time{}, true
		w.read()
	}
	w.silent = false
}

// read notes that its control queue has a consumer, or may have one.
func (w *worker) read() { w.unread, w.away, w.cut = time.Time{}, time.Time{}, false }

// take takes what a heartbeat says.
func (w *worker) take(h *brokerv1.Heartbeat, now time.Time) {
	served := typesOf(h)
	maps.Copy(served, w.synced)
	if !maps.Equal(served, w.types) || h.Control != w.control {
		w.unsaved = true
	}
	// Heartbeats and requests take different ways: a lower number is of before.
	if h.Control > w.control {
		w.control = h.Control
		w.read()
	}
	w.beat, w.seen, w.types = h, now, served
	if !w.before(h) {
		w.position = h.CancelPosition
	}
	w.highest = max(w.highest, h.CancelPosition)
	if h.Draining {
		w.drain = nil
	}
	w.busy, w.running = ids(h.Cancelling), map[uuid.UUID]bool{}
	for _, r := range h.Running {
		if id, err := uuid.Parse(r.TaskId); err == nil {
			w.running[id] = true
		}
	}
}

// before says whether a heartbeat is of before the worker has lost a control queue, and
// with it what it knew. One without a number reads none, and knows nothing.
func (w *worker) before(h *brokerv1.Heartbeat) bool { return 0 < h.Control && h.Control < w.control }

func typesOf(h *brokerv1.Heartbeat) map[string]bool {
	out := map[string]bool{}
	for _, l := range h.Types {
		out[l.Type] = true
	}
	return out
}

// addTypes adds to a heartbeat the types that it lacks.
func addTypes(h *brokerv1.Heartbeat, types map[string]bool) {
	known := typesOf(h)
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if !known[name] {
			h.Types = append(h.Types, &brokerv1.TypeLoad{Type: name})
		}
	}
}

func ids(texts []string) map[uuid.UUID]bool {
	out := make(map[uuid.UUID]bool, len(texts))
	for _, text := range texts {
		if id, err := uuid.Parse(text); err == nil {
			out[id] = true
		}
	}
	return out
}

// join takes in a worker that asks to sync: it counts from then on, and knows
// nothing yet.
func (c *Control) join(r *brokerv1.WorkerRequest, now time.Time) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[r.Worker.WorkerId]
	if w == nil {
		w = &worker{id: r.Worker.WorkerId}
		c.workers[w.id] = w
	}
	sync := r.GetSync()
	beat := &brokerv1.Heartbeat{Worker: r.Worker, Control: sync.Control}
	if w.beat != nil {
		beat, _ = proto.Clone(w.beat).(*brokerv1.Heartbeat)
		beat.Control, beat.CancelPosition, beat.Goodbye = max(beat.Control, sync.Control), 0, false
	}
	c.noteReturn(w, beat, now)
	w.synced = map[string]bool{}
	for _, t := range sync.Types {
		w.synced[t] = true
	}
	addTypes(beat, w.synced)
	w.take(beat, now)
	w.read()
	w.position, w.told, w.unsaved = 0, 0, true
	return w
}

// spelled is a worker's id as workers spell it.
func spelled(workerID string) string { return strings.ToLower(workerID) }

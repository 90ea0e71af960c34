// Package depth says how long the queues of task types are that have a length
// limit.
package depth

import (
	"sync"
	"time"
)

// fresh is how long a sample is good for: without a newer one, nothing is known
// of a queue.
const fresh = 2 * time.Second

// Types says which task types have a limit, and which.
type Types interface {
	QueueLimits() map[string]int64
}

// Gauge estimates how many tasks wait in the queues with a limit: those of the
// last sample, what this process has published since, and what it is publishing
// now. Its Run takes the samples.
//
// What was on its way while the sample was taken counts twice until it is
// confirmed, and not at all between that and the next sample if the broker had
// it only after the sample. So a limit can be overshot by that, and by what
// other gateways and requeued deliveries add between two samples.
type Gauge struct {
	types    Types
	topology Topology

	mu     sync.Mutex
	queues map[string]*queue
}

// New makes a gauge.
func New(types Types, topology Topology) *Gauge {
	return &Gauge{types: types, topology: topology, queues: map[string]*queue{}}
}

// queue is what is known of one queue.
type queue struct {
	// waiting is the sample, taken at a time; zero for never.
	waiting int64
	taken   time.Time
	// samples counts them.
	samples int64
	// since counts what was begun and confirmed since the sample.
	since int64
	// under counts publishes under way.
	under int64
}

// sampled is how many tasks wait by the last sample; false if there is none that
// is good.
func (q *queue) sampled() (int64, bool) { return q.waiting, time.Since(q.taken) <= fresh }

// Enter asks for room in the queue of a task type with a limit; 0 is none. If
// there is room, the message counts as one on its way until leave is called,
// which says whether it was published, or may have been. Call leave once.
//
// There is room where nothing is known of the queue.
func (g *Gauge) Enter(taskType string, limit int64) (leave func(published bool), ok bool) {
	if limit <= 0 {
		return func(bool) {}, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queue(taskType)
	if waiting, known := q.sampled(); known && waiting+q.since+q.under >= limit {
		return nil, false
	}
	q.under++
	begun := q.samples
	return func(published bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		q.under--
		if published && q.samples == begun {
			q.since++
		}
	}, true
}

// AtLimit says whether the last sample shows a queue at its limit; 0 is none.
func (g *Gauge) AtLimit(taskType string, limit int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queues[taskType]
	if q == nil || limit <= 0 {
		return false
	}
	waiting, known := q.sampled()
	return known && waiting >= limit
}

func (g *Gauge) queue(taskType string) *queue {
	q := g.queues[taskType]
	if q == nil {
		q = &queue{}
		g.queues[taskType] = q
	}
	return q
}

// take takes a sample in.
func (g *Gauge) take(taskType string, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queue(taskType)
	q.waiting, q.taken = int64(waiting), time.Now()
	q.samples++
	q.since = 0
}

// forget forgets queues whose types have no limit any more.
func (g *Gauge) forget(limits map[string]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, q := range g.queues {
		if limits[name] == 0 && q.under == 0 {
			delete(g.queues, name)
		}
	}
}

package control

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// world has two gateways on one store and workers that come, lose their control
// queues and ask anew, while tasks are cancelled. Everything takes some time.
type world struct {
	t        *testing.T
	gateways [2]*bench
	store    *memory

	mu        sync.Mutex
	random    *rand.Rand
	players   map[string]*racer
	cancelled map[uuid.UUID]bool
	wrong     string
}

// racer is a worker. It may start what it does not know to be cancelled as long as
// it is synced.
type racer struct {
	id       string
	synced   bool
	control  int32
	request  string
	position int64
	known    map[uuid.UUID]bool
	next     map[uuid.UUID]bool
	reached  int64
	changed  chan struct{}
}

func (w *world) between(least, most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return least + time.Duration(w.random.Int64N(int64(most-least)))
}

func (w *world) pause() { <-time.After(w.between(0, 3*time.Millisecond)) }

// deliver has a worker hear what it is told.
func (w *world) deliver(workerID string, m *brokerv1.ControlMessage) {
	batch := m.GetCancellations()
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.players[workerID]
	if batch == nil || p == nil || batch.RequestId != "" && batch.RequestId != p.request || batch.RequestId == "" && !p.synced {
		return
	}
	p.hear(batch)
	if p.synced {
		w.check(p)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *racer) hear(batch *brokerv1.CancellationBatch) {
	switch {
	case batch.After == 0 && !p.synced:
		p.next, p.reached = map[uuid.UUID]bool{}, 0
		fallthrough
	case !p.synced && p.next != nil && batch.After == p.reached:
		for _, e := range batch.Entries {
			p.next[uuid.UUID(e.TaskId)] = true
		}
		p.reached = batch.Position
		if batch.Complete {
			p.known, p.next, p.position, p.synced = p.next, nil, batch.Position, true
		}
	case p.synced && batch.After == p.position:
		for _, e := range batch.Entries {
			p.known[uuid.UUID(e.TaskId)] = true
		}
		p.position = batch.Position
	}
}

// check demands that a worker knows everything that is CANCELLED.
func (w *world) check(p *racer) {
	for id := range w.cancelled {
		if !p.known[id] && w.wrong == "" {
			w.wrong = fmt.Sprintf("worker %s may start %s, which is CANCELLED", p.id, id)
		}
	}
}

// applying notes what is CANCELLED.
func (w *world) applying(events []task.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range events {
		w.cancelled[uuid.MustParse(events[i].TaskID)] = true
	}
	for _, p := range w.players {
		if p.synced {
			w.check(p)
		}
	}
}

// work plays a worker until ctx ends: it asks one gateway or the other to be told
// what is cancelled, sends heartbeats, and loses its control queue now and then.
func (w *world) work(ctx context.Context, id string) {
	p := &racer{id: id, changed: make(chan struct{}, 1)}
	w.mu.Lock()
	w.players[id] = p
	w.mu.Unlock()
	for ctx.Err() == nil {
		request := w.begin(p)
		life, end := context.WithTimeout(ctx, w.between(time.Millisecond, 3*time.Second))
		for life.Err() == nil {
			w.mu.Lock()
			synced := p.synced
			w.mu.Unlock()
			if !synced {
				if err := w.gateways[w.between(0, 2)].Sync(life, request); err != nil && life.Err() == nil {
					w.t.Errorf("sync: %v", err)
				}
			}
			select {
			case <-p.changed:
			case <-time.After(time.Second):
			case <-life.Done():
			}
			w.pause()
			w.beat(p)
		}
		end()
	}
}

// begin reads another control queue.
func (w *world) begin(p *racer) *brokerv1.WorkerRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.control++
	p.synced, p.position, p.next, p.request = false, 0, nil, task.NewID()
	r := syncOf(p.id, p.control, resize)
	r.RequestId = p.request
	return r
}

func (w *world) beat(p *racer) {
	w.mu.Lock()
	h := beatOf(p.id, p.position, resize)
	h.Control = p.control
	w.mu.Unlock()
	for _, b := range w.gateways {
		b.Beat(h, time.Now())
		if news := b.News(h); news != nil {
			w.deliver(p.id, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Cancellations{Cancellations: news}})
		}
		w.pause()
	}
}

// cancelSome cancels tasks one after the other, on one gateway or the other.
func (w *world) cancelSome(ctx context.Context) []string {
	var ids []string
	for ctx.Err() == nil {
		id := w.store.add(resize)
		if _, err := w.gateways[w.between(0, 2)].Cancel(ctx, []string{id}, "a test"); err != nil {
			w.t.Errorf("cancel: %v", err)
		}
		ids = append(ids, id)
		<-time.After(w.between(0, 200*time.Millisecond))
	}
	return ids
}

// TestNoWorkerMissesACancellationWhileItComes has workers sync while tasks are
// cancelled: no worker that may take tasks ever does not know of one that is
// CANCELLED, and all come to that in the end.
func TestNoWorkerMissesACancellationWhileItComes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					t: t, store: newMemory(), random: rand.New(rand.NewPCG(seed, seed)),
					players: map[string]*racer{}, cancelled: map[uuid.UUID]bool{},
				}
				w.store.pause = w.pause
				for i := range w.gateways {
					b := newBench(w.store)
					b.deliver, b.applying = w.deliver, w.applying
					w.gateways[i] = b
					defer b.start(t)()
				}
				sleep(quietTime + time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var working, cancelling sync.WaitGroup
				var ids []string
				cancelling.Go(func() { ids = w.cancelSome(ctx) })
				// Those that work stay until all is cancelled.
				end, stop := context.WithCancel(t.Context())
				for i := range 4 {
					<-time.After(w.between(0, time.Second))
					working.Go(func() { w.work(end, fmt.Sprint("w-", i)) })
				}
				cancelling.Wait()
				patience, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for _, b := range w.gateways {
					b.AwaitCancelled(patience, ids)
				}
				stop()
				working.Wait()
				require.Empty(t, w.wrong)
				require.Greater(t, len(ids), 20)
				for _, id := range ids {
					require.Equal(t, task.StateCancelled, w.store.state(id))
				}
			})
		})
	}
}

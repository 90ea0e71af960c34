package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker/gatewaytest"
)

// judge counts starts, and those of tasks whose cancellation had taken effect.
type judge struct {
	mu        sync.Mutex
	starts    map[string]int
	effective map[string]bool
	late      []string
}

func (j *judge) started(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.starts[id]++
	if j.effective[id] {
		j.late = append(j.late, id)
	}
}

func (j *judge) inEffect(ids []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range ids {
		j.effective[id] = true
	}
}

// cancelRace has workers whose tasks are cancelled while they lose what they are
// connected by.
type cancelRace struct {
	judge *judge
	*gateway
	broker  brokertest.Broker
	random  *rand.Rand
	workers []*Worker
	proxies []*brokertest.Proxy
	stops   []func()
	// mayEnd has a value for each handler that may end.
	mayEnd chan struct{}
	// ids are all tasks, wanted those that were not cancelled.
	ids, wanted []string
	// losses counts lost connections.
	losses int
}

// What each worker runs at once, and fetches besides.
const slotsOfRace, fetchedOfRace = 3, 5

func (r *cancelRace) join(t *testing.T) {
	t.Helper()
	proxy := brokertest.NewProxy(t, r.broker.URL)
	w, stop := run(t, &faults{delay: r.handle}, Config{AMQPURLs: []string{proxy.URL()}, Concurrency: slotsOfRace, Prefetch: fetchedOfRace})
	r.workers, r.proxies, r.stops = append(r.workers, w), append(r.proxies, proxy), append(r.stops, stop)
}

func (r *cancelRace) handle(ctx context.Context) error {
	info, _ := task.FromContext(ctx)
	r.judge.started(info.ID)
	lasts, err := time.ParseDuration(info.Labels["lasts"])
	if err != nil {
		return err
	}
	select {
	case <-r.mayEnd:
	case <-ctx.Done():
		return ctx.Err()
	}
	timer := time.NewTimer(lasts)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *cancelRace) submit(t *testing.T) {
	t.Helper()
	lasts := time.Duration(r.random.IntN(5000)) * time.Microsecond
	id := r.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.Labels = map[string]string{"lasts": lasts.String()} })
	r.ids, r.wanted = append(r.ids, id), append(r.wanted, id)
}

// disturb takes the connection of its work, or its control queue, from a worker.
func (r *cancelRace) disturb(t *testing.T) {
	t.Helper()
	k := r.random.IntN(len(r.workers))
	if r.random.IntN(2) == 0 {
		r.losses++
		r.proxies[k].Drop(brokertest.AMQP10)
	} else if beat := r.LastBeat(r.workers[k]); beat != nil && beat.Control > 0 {
		_, err := r.broker.Channel(t).QueueDelete(r.Names.ControlQueue(r.workers[k].ID(), int(beat.Control)), false, false, false)
		require.NoError(t, err)
	}
}

// cancelSome cancels n tasks, and returns when that is in effect.
func (r *cancelRace) cancelSome(t *testing.T, n int) {
	t.Helper()
	var chosen []string
	for range n {
		k := r.random.IntN(len(r.wanted))
		chosen = append(chosen, r.wanted[k])
		r.wanted = slices.Delete(r.wanted, k, k+1)
	}
	position := r.Record("by chance", chosen...)
	r.Lock()
	news := r.After(position-n, "")
	r.Unlock()
	for _, w := range r.workers {
		require.NoError(t, r.Tell(t.Context(), w.ID(), news...))
	}
	for _, w := range r.workers {
		// It may have to connect anew first, and to learn all of them.
		brokertest.Eventually(t, 4*patience, func() error {
			if b := r.LastBeat(w); b == nil || !gatewaytest.InEffect(b, position, chosen) {
				return fmt.Errorf("position %d is not in effect: the last heartbeat is %v", position, b)
			}
			return nil
		})
	}
	r.judge.inEffect(chosen)
}

// requireOneEnd demands that each task has one end, of which only a delivery whose
// settlement was lost with its connection may have told another one; that no start is
// unknown; and that at least so many tasks were cancelled.
func (r *cancelRace) requireOneEnd(t *testing.T, cancelled int) {
	t.Helper()
	told := 0
	for _, id := range r.ids {
		var joined task.Task
		started, ends := map[task.Key]bool{}, map[int64]task.Key{}
		for _, e := range r.Of(id) {
			joined.Apply(&e)
			switch e.Key.Phase {
			case task.PhaseStarted:
				started[e.Key] = true
			case task.PhaseSucceeded, task.PhaseCancelled, task.PhaseDeadLettered:
				if end, again := ends[e.Key.Delivery]; again {
					require.Equal(t, end, e.Key, "a delivery has one end")
				}
				ends[e.Key.Delivery] = e.Key
			}
		}
		require.NotEmpty(t, ends)
		told += len(ends) - 1
		require.LessOrEqual(t, r.judge.starts[id], len(started))
		switch joined.State {
		case task.StateSucceeded:
		case task.StateCancelled:
			require.True(t, r.judge.effective[id], "nobody has cancelled it")
			cancelled--
		default:
			require.Fail(t, "it has not ended as it should", "%s is %s", id, joined.State)
		}
	}
	require.LessOrEqual(t, told, r.losses*(slotsOfRace+fetchedOfRace))
	require.LessOrEqual(t, cancelled, 0, "so many more should have been cancelled before they ended")
}

// Cancellations come at any moment of tasks' lives, while workers lose their
// connections and control queues: none is started once its cancellation is in
// effect, and each task has one end.
func TestNoneIsStartedAfterItsCancellation(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			const rounds, perRound, perCall = 10, 40, 10
			b := brokertest.VHost(t)
			r := &cancelRace{
				judge:   &judge{starts: map[string]int{}, effective: map[string]bool{}},
				gateway: startGateway(t, b, typeDelay), broker: b,
				random: rand.New(rand.NewPCG(seed, 1)), mayEnd: make(chan struct{}, rounds*perRound),
			}
			r.Change(func() { r.CatchUp, r.Page = true, 7 })
			for range perRound {
				r.submit(t)
			}
			r.join(t)
			r.join(t)
			for range rounds {
				// Fewer may end than come: there is always something to cancel.
				for n := range perRound {
					r.submit(t)
					if n%2 == 0 {
						r.mayEnd <- struct{}{}
					}
				}
				r.disturb(t)
				r.cancelSome(t, perCall)
			}
			close(r.mayEnd)
			for _, id := range r.ids {
				brokertest.Eventually(t, 4*patience, func() bool { return len(r.Of(id, task.PhaseSucceeded, task.PhaseCancelled)) > 0 })
			}
			for _, stop := range r.stops {
				stop()
			}
			r.RequireSettled(t, typeDelay)
			require.Empty(t, r.judge.late)
			r.requireOneEnd(t, rounds)
		})
	}
}

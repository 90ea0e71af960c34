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

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
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

// Cancellations come at any moment of tasks' lives, while workers lose their
// connections and control queues: none is started once its cancellation is in
// effect, and each task has one end.
func TestNoneIsStartedAfterItsCancellation(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			const tasks, cancelEvery = 400, 4
			random := rand.New(rand.NewPCG(seed, 1))
			b := brokertest.VHost(t)
			g := startGateway(t, b, typeDelay)
			g.Change(func() { g.CatchUp, g.Page = true, 7 })
			j := &judge{starts: map[string]int{}, effective: map[string]bool{}}
			handle := func(ctx context.Context) error {
				info, _ := task.FromContext(ctx)
				j.started(info.ID)
				timer := time.NewTimer(rand.N(5 * time.Millisecond))
				defer timer.Stop()
				select {
				case <-timer.C:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			var workers []*Worker
			var stops []func()
			var proxies []*brokertest.Proxy
			for range 2 {
				proxy := brokertest.NewProxy(t, b.URL)
				w, stop := run(t, &faults{delay: handle}, Config{AMQPURLs: []string{proxy.URL()}, Concurrency: 3, Prefetch: 5})
				workers, stops, proxies = append(workers, w), append(stops, stop), append(proxies, proxy)
			}
			var ids, unsettled []string
			channel := b.Channel(t)
			for n := range tasks {
				ids = append(ids, g.Submit(t, typeDelay))
				unsettled = append(unsettled, ids[n])
				if n%50 == 49 {
					k := random.IntN(2)
					if random.IntN(2) == 0 {
						proxies[k].Drop(brokertest.AMQP10)
					} else if beat := g.LastBeat(workers[k]); beat != nil && beat.Control > 0 {
						_, err := channel.QueueDelete(g.Names.ControlQueue(workers[k].ID(), int(beat.Control)), false, false, false)
						require.NoError(t, err)
					}
				}
				if n%(10*cancelEvery) != 10*cancelEvery-1 {
					continue
				}
				var chosen []string
				for range 10 {
					k := random.IntN(len(unsettled))
					chosen = append(chosen, unsettled[k])
					unsettled = slices.Delete(unsettled, k, k+1)
				}
				position := g.Record("by chance", chosen...)
				for _, w := range workers {
					g.Lock()
					news := g.After(position-len(chosen), "")
					g.Unlock()
					require.NoError(t, g.Tell(t.Context(), w.ID(), news...))
				}
				for _, w := range workers {
					g.AwaitEffect(t, w, position, chosen...)
				}
				j.inEffect(chosen)
			}
			for _, id := range ids {
				brokertest.Eventually(t, 4*patience, func() bool { return len(g.Of(id, task.PhaseSucceeded, task.PhaseCancelled)) > 0 })
			}
			for _, stop := range stops {
				stop()
			}
			g.RequireSettled(t, typeDelay)
			require.Empty(t, j.late)
			for _, id := range ids {
				if len(g.Of(id, task.PhaseCancelled)) > 0 {
					require.True(t, j.effective[id])
				}
			}
		})
	}
}

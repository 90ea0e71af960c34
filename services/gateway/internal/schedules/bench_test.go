package schedules

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// BenchmarkSchedules has schedules fire 200 times a second, and tells how late their
// tasks are in their queues, from the firing's time to the commit of the QUEUED event.
func BenchmarkSchedules(b *testing.B) {
	const rate, seconds = 200, 15
	for b.Loop() {
		g := newGateway(b)
		begin := time.Now().Add(6 * time.Second).Truncate(time.Microsecond)
		g.put(b, rate, time.Second, func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second / rate) })
		var mu sync.Mutex
		var lateness []time.Duration
		ctx, cancel := context.WithCancel(b.Context())
		var watching sync.WaitGroup
		watching.Go(func() {
			late := g.watch(ctx, b)
			mu.Lock()
			defer mu.Unlock()
			lateness = late
		})
		stop := g.start(b)
		brokertest.Eventually(b, time.Minute, func() bool { return time.Since(begin) > seconds*time.Second })
		g.halt(b)
		g.awaitEmpty(b)
		stop()
		cancel()
		watching.Wait()
		slices.Sort(lateness)
		require.Greater(b, len(lateness), rate*(seconds-5))
		b.ReportMetric(float64(len(lateness))/seconds, "firings/s")
		b.ReportMetric(ms(lateness, 50), "p50-ms")
		b.ReportMetric(ms(lateness, 99), "p99-ms")
		b.ReportMetric(ms(lateness, 100), "max-ms")
	}
}

func ms(sorted []time.Duration, percent int) float64 {
	return float64(sorted[(len(sorted)-1)*percent/100].Microseconds()) / 1000
}

// watch follows the feed until ctx ends, and gives how long after their times tasks
// were known to be QUEUED.
func (g *gateway) watch(ctx context.Context, t testing.TB) (late []time.Duration) {
	news := g.hub.SubscribeAll()
	defer news.Close()
	at, err := g.store.FeedEnd(ctx)
	require.NoError(t, err)
	due := map[string]time.Time{}
	for {
		page, err := g.store.Feed(ctx, store.FeedQuery{From: at, Limit: 500, QueuePrefix: names.Work("")})
		if err != nil {
			return late
		}
		now := time.Now()
		for _, e := range page.Entries {
			if !e.Event.ScheduleTime.IsZero() {
				due[e.Event.TaskID] = e.Event.ScheduleTime
			} else if when, ok := due[e.Event.TaskID]; ok {
				late = append(late, now.Sub(when))
				delete(due, e.Event.TaskID)
			}
		}
		if at = page.Next; len(page.Entries) > 0 {
			continue
		}
		select {
		case <-news.C:
		case <-ctx.Done():
			return late
		}
	}
}

// BenchmarkDue publishes tasks whose time has come all at once.
func BenchmarkDue(b *testing.B) {
	const count = 20_000
	for b.Loop() {
		g := newGateway(b)
		r := payloadOf(b)
		at := time.Now().Add(-time.Second).UTC().Truncate(time.Microsecond)
		for i := range count / 500 {
			var tasks []store.Scheduled
			for j := range 500 {
				made, err := g.service.MakeTask(b.Context(), r, "s", taskID("s", at.Add(time.Duration(500*i+j)*time.Microsecond)), at)
				require.NoError(b, err)
				tasks = append(tasks, *made)
			}
			_, err := g.store.Schedule(b.Context(), tasks)
			require.NoError(b, err)
		}
		begin := time.Now()
		stop := g.start(b)
		brokertest.Eventually(b, time.Minute, func() bool {
			n, err := g.store.CountScheduled(b.Context(), "")
			return err == nil && n == 0
		})
		b.ReportMetric(count/time.Since(begin).Seconds(), "tasks/s")
		stop()
	}
}

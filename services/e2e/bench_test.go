package e2e

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// BenchmarkThroughput is tasks per second end to end: 64 callers that each wait
// for their submission, one worker, until the last success is in the store.
//
//	go test ./services/e2e -run '^$' -bench . -benchtime 20000x -count 5
func BenchmarkThroughput(b *testing.B) {
	p, _ := onVHost(b)
	p.startWorker(b, "--concurrency", "64", "--log-level", "info")
	p.awaitReady(b, typeDelay)
	request := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(b, delay(0))}
	var next atomic.Int64
	var last atomic.Pointer[string]
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				r, err := p.tasks.SubmitTask(context.Background(), request)
				if err != nil {
					b.Error(err)
					return
				}
				last.Store(&r.Task.TaskId)
			}
		})
	}
	wg.Wait()
	submitted := b.Elapsed()
	// The queue is strict in its order, up to the worker's concurrency.
	for p.recorder.tasks() < b.N {
		require.NoError(b, wait(b.Context(), time.Millisecond))
	}
	p.await(b, *last.Load())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64(b.N)/submitted.Seconds(), "submissions/s")
}

// BenchmarkLatency is the time from submission to the success that a watcher
// sees, at 100 tasks per second.
func BenchmarkLatency(b *testing.B) {
	p, _ := onVHost(b)
	p.startWorker(b, "--concurrency", "64", "--log-level", "info")
	p.awaitReady(b, typeDelay)
	request := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(b, delay(0))}
	took := make([]time.Duration, b.N)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range b.N {
		<-ticker.C
		wg.Go(func() {
			begin := time.Now()
			r, err := p.tasks.SubmitTask(context.Background(), request)
			if err != nil {
				b.Error(err)
				return
			}
			w := &observer{id: r.Task.TaskId, token: r.Task.ResumeToken}
			if err := w.watch(context.Background(), p.tasks); err != nil || len(w.problems) > 0 {
				b.Error(err, w.problems)
			}
			took[i] = time.Since(begin)
		})
	}
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

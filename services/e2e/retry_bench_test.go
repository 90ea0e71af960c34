package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// flood submits n tasks from 64 callers and gives their ids.
func (p *platform) flood(b *testing.B, n int, request func(i int) *taskv1.SubmitTaskRequest) []string {
	ids := make([]string, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				r, err := p.tasks.SubmitTask(context.Background(), request(i))
				if err != nil {
					b.Error(err)
					return
				}
				ids[i] = r.Task.TaskId
			}
		})
	}
	wg.Wait()
	return ids
}

// awaitStarts waits until handlers were started so often in all.
func (p *platform) awaitStarts(b *testing.B, n int) {
	for p.recorder.all() < n {
		require.NoError(b, wait(b.Context(), time.Millisecond))
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkRetries is throughput with every tenth task failing once, as a share
// of that without failures: five rounds of each in turn, medians.
//
//	go test ./services/e2e -run '^$' -bench BenchmarkRetries -benchtime 5000x
func BenchmarkRetries(b *testing.B) {
	const rounds = 5
	p, _ := onVHost(b)
	p.startWorker(b, "--concurrency", "64", "--log-level", "info")
	p.awaitReady(b, typeFail)
	fine := payload(b, &demov1.FailRequest{})
	once := payload(b, &demov1.FailRequest{Code: int32(codes.Unavailable), Reason: reasonOnce})
	round := func(every int) float64 {
		started, failing := p.recorder.all(), 0
		if every > 0 {
			failing = (b.N + every - 1) / every
		}
		begin := time.Now()
		ids := p.flood(b, b.N, func(i int) *taskv1.SubmitTaskRequest {
			r := &taskv1.SubmitTaskRequest{Type: typeFail, Payload: fine, Retry: quickly(3)}
			if every > 0 && i%every == 0 {
				r.Payload = once
			}
			return r
		})
		p.awaitStarts(b, started+b.N+failing)
		p.await(b, ids[len(ids)-1])
		return float64(b.N) / time.Since(begin).Seconds()
	}
	round(0) // warms up
	var without, with, share []float64
	b.ResetTimer()
	for range rounds {
		w, f := round(0), round(10)
		without, with, share = append(without, w), append(with, f), append(share, f/w)
	}
	b.ReportMetric(median(without), "tasks/s")
	b.ReportMetric(median(with), "failing-tasks/s")
	b.ReportMetric(median(share), "share")
}

// lateness reports by how much second attempts were started after their time.
func (p *platform) lateness(b *testing.B, ids []string) {
	late := make([]time.Duration, len(ids))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(ids); i = int(next.Add(1)) - 1 {
				p.await(b, ids[i])
				a := p.attempts(b, ids[i])
				late[i] = a[1].StartTime.AsTime().Sub(a[0].NextAttemptTime.AsTime())
			}
		})
	}
	wg.Wait()
	slices.Sort(late)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(late[0]), "min-ms")
	b.ReportMetric(ms(late[len(late)/2]), "p50-ms")
	b.ReportMetric(ms(late[len(late)*99/100]), "p99-ms")
	b.ReportMetric(ms(late[len(late)-1]), "max-ms")
}

// BenchmarkLatenessPaced is how late retries are at 100 per second.
func BenchmarkLatenessPaced(b *testing.B) {
	p, _ := onVHost(b)
	p.startWorker(b, "--concurrency", "64", "--log-level", "info")
	p.awaitReady(b, typeFail)
	request := &taskv1.SubmitTaskRequest{
		Type: typeFail, Payload: payload(b, &demov1.FailRequest{Code: int32(codes.Unavailable), Reason: reasonOnce}), Retry: quickly(3),
	}
	request.Retry.Backoff.Kind.(*taskv1.Backoff_Fixed).Fixed.Nanos = 500_000_000
	ids := make([]string, b.N)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	b.ResetTimer()
	for i := range b.N {
		<-ticker.C
		r, err := p.tasks.SubmitTask(context.Background(), request)
		require.NoError(b, err)
		ids[i] = r.Task.TaskId
	}
	p.lateness(b, ids)
}

// BenchmarkLatenessBurst is how late retries are that are all due at once.
//
//	go test ./services/e2e -run '^$' -bench BenchmarkLatenessBurst -benchtime 10000x
func BenchmarkLatenessBurst(b *testing.B) {
	p, _ := onVHost(b)
	p.startWorker(b, "--concurrency", "64", "--log-level", "info")
	p.awaitReady(b, typeFail)
	started := p.recorder.all()
	// Time for all of them to be submitted and to fail.
	due := time.Now().Add(5*time.Second + time.Duration(b.N)*time.Millisecond)
	request := &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(b, &demov1.FailRequest{
		Code: int32(codes.Unavailable), Reason: reasonUntil, Message: strconv.FormatInt(due.UnixMilli(), 10),
	})}
	ids := p.flood(b, b.N, func(int) *taskv1.SubmitTaskRequest { return request })
	p.awaitStarts(b, started+b.N)
	require.True(b, time.Now().Before(due), "not all had failed before they were due again")
	p.awaitStarts(b, started+2*b.N)
	b.ReportMetric(float64(b.N)/time.Since(due).Seconds(), "retries/s")
	p.lateness(b, ids)
}

// BenchmarkGivenUp is how long b.N tasks take that fail three times each, from
// the first submission until all are dead letters, less their two waits of 20 ms.
//
//	go test ./services/e2e -run '^$' -bench BenchmarkGivenUp -benchtime 1000x -count 5
func BenchmarkGivenUp(b *testing.B) {
	p, _ := onVHost(b)
	p.startWorker(b, "--concurrency", "64", "--log-level", "info")
	p.startDeadletter(b)
	p.awaitReady(b, typeFail)
	p.awaitDead(b, "", 0, 20*time.Second)
	request := payload(b, fail(codes.Unavailable, "always"))
	before, begin := 0, time.Now()
	p.flood(b, b.N, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeFail, Payload: request, Retry: quickly(3)}
	})
	p.awaitStarts(b, before+3*b.N)
	for n := 0; n < b.N; n = len(p.list(b, "")) {
		require.NoError(b, wait(b.Context(), 5*time.Millisecond))
	}
	b.ReportMetric((time.Since(begin) - 40*time.Millisecond).Seconds(), "s-beyond-backoff")
	if n := len(p.list(b, fmt.Sprintf("attempt = %d", 3))); n != b.N {
		b.Errorf("%d of %d dead letters had three attempts", n, b.N)
	}
}

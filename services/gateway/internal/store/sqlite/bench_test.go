package sqlite_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

// BenchmarkApply applies batches of the three events that most tasks have, with
// a payload and a result of 200 bytes. Folded batches have all three of a task,
// split ones have each in a batch of its own, which is how a task that takes a
// while is seen.
func BenchmarkApply(b *testing.B) {
	for _, tasks := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("folded/tasks=%d", tasks), func(b *testing.B) {
			benchmarkApply(b, tasks, false)
		})
	}
	b.Run("split/tasks=500", func(b *testing.B) { benchmarkApply(b, 500, true) })
}

func benchmarkApply(b *testing.B, tasks int, split bool) {
	ctx := b.Context()
	s := open(b, sqlite.EmptyFile(b))
	b.ReportAllocs()
	events := 0
	for b.Loop() {
		b.StopTimer()
		batches := benchBatches(tasks, split)
		b.StartTimer()
		for _, batch := range batches {
			if _, err := s.Apply(ctx, batch); err != nil {
				b.Fatal(err)
			}
			events += len(batch)
		}
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

func benchBatches(tasks int, split bool) [][]task.Event {
	batches := make([][]task.Event, 3)
	for range tasks {
		for i, e := range benchTask() {
			if !split {
				i = 0
			}
			batches[i] = append(batches[i], e)
		}
	}
	if !split {
		return batches[:1]
	}
	return batches
}

func benchTask() []task.Event {
	now := time.Now()
	id, body, hash := task.NewID(), make([]byte, 200), sha256.Sum256(nil)
	key := task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued, Copy: task.NewCopy()}
	head := &task.Head{
		CreateTime: now, Priority: task.PriorityNormal, Labels: map[string]string{"customer": "acme"},
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	}
	queued := task.Event{
		TaskID: id, Type: "demo.v1.ImageService.Thumbnail", Key: key, Time: now, Head: head,
		Payload: &task.Payload{Bytes: body, Size: int64(len(body)), SHA256: hash[:]},
	}
	started := task.Event{TaskID: id, Type: queued.Type, Key: key, Time: now, Head: head, WorkerID: "w-1",
		Execution: &task.Execution{Host: "worker-1", Version: "v1.2.3"}}
	started.Key.Phase, started.Key.Delivery = task.PhaseStarted, 1
	succeeded := task.Event{TaskID: id, Type: queued.Type, Key: started.Key, Time: now, WorkerID: "w-1", Message: body}
	succeeded.Key.Phase = task.PhaseSucceeded
	return []task.Event{queued, started, succeeded}
}

// BenchmarkStart decides about the first starts of tasks, all in one
// transaction: of what runs at most once, or was replayed.
func BenchmarkStart(b *testing.B) {
	for _, tasks := range []int{1, 500} {
		b.Run(fmt.Sprintf("tasks=%d", tasks), func(b *testing.B) { benchmarkStart(b, tasks) })
	}
}

func benchmarkStart(b *testing.B, tasks int) {
	ctx := b.Context()
	s := open(b, sqlite.EmptyFile(b))
	b.ReportAllocs()
	starts := 0
	for b.Loop() {
		b.StopTimer()
		queued := benchBatches(tasks, true)[0]
		_, err := s.Apply(ctx, queued)
		require.NoError(b, err)
		var requests []task.StartRequest
		for _, e := range queued {
			requests = append(requests, task.StartRequest{
				RequestID: e.TaskID, TaskID: e.TaskID, Type: e.Type, Run: 1, Attempt: 1, Copy: e.Key.Copy, Delivery: 1, AtMostOnce: true,
			})
		}
		b.StartTimer()
		if _, err := s.Start(ctx, requests); err != nil {
			b.Fatal(err)
		}
		starts += len(requests)
	}
	b.ReportMetric(float64(starts)/b.Elapsed().Seconds(), "starts/s")
}

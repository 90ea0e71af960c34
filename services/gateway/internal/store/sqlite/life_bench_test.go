//go:build unix

package sqlite_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

// BenchmarkLife applies the life of most tasks as the projection sees it under
// load: the QUEUED events of 64 tasks, then what became of them, with a payload
// and a result of 64 bytes. What counts is the CPU time of a task, which is not
// the time that its commits take on the disk.
func BenchmarkLife(b *testing.B) {
	const tasks = 64
	ctx := b.Context()
	s := open(b, sqlite.EmptyFile(b))
	b.ReportAllocs()
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		queued, rest := benchLives(tasks)
		begin := cpuTime(b)
		b.StartTimer()
		for _, batch := range [][]task.Event{queued, rest} {
			if _, err := s.Apply(ctx, batch); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		cpu += cpuTime(b) - begin
		b.StartTimer()
	}
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N*tasks), "cpu-us/task")
}

// benchLives are the events of tasks in two batches.
func benchLives(tasks int) (queued, rest []task.Event) {
	for range tasks {
		life := benchTask()
		payload, result := &life[0], &life[2]
		payload.Payload.Bytes, payload.Payload.Size = payload.Payload.Bytes[:64], 64
		result.Message = result.Message[:64]
		queued, rest = append(queued, life[0]), append(rest, life[1:]...)
	}
	return queued, rest
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

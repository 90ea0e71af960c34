package sqlite_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

var scheduledTasks = flag.Int("scheduled", 20_000, "how many tasks wait in BenchmarkTakeDue")

// BenchmarkTakeDue takes 500 tasks of 256 B at a time while many wait, which are due
// within a month, and puts them off for ever. It says what it took to put them in,
// 1,000 at a time, and what they take: of the file, and of this process's memory.
func BenchmarkTakeDue(b *testing.B) {
	const batch, page = 1000, 500
	const month = 30 * 24 * time.Hour
	path := sqlite.EmptyFile(b)
	s := open(b, path)
	now := time.Now()
	before, begin := resident(b), time.Now()
	for range *scheduledTasks / batch {
		tasks := make([]store.Scheduled, batch)
		for i := range tasks {
			tasks[i] = later(now.Add(rand.N(month)))
			tasks[i].Event.Payload.Bytes = make([]byte, 256)
		}
		_, err := s.Schedule(b.Context(), tasks)
		require.NoError(b, err)
	}
	took, info := time.Since(begin), statOf(b, path)
	var latencies []time.Duration
	for at := now; b.Loop(); {
		began := time.Now()
		due, next, err := s.TakeDue(b.Context(), at, time.Hour, page, nil)
		require.NoError(b, err)
		latencies = append(latencies, time.Since(began))
		b.StopTimer()
		var ids []string
		for _, d := range due {
			ids = append(ids, d.TaskID)
		}
		require.NoError(b, s.Unschedule(b.Context(), ids))
		// So many more are due then.
		if at = at.Add(month * page / time.Duration(*scheduledTasks)); next.IsZero() {
			b.Fatal("none is left: more -scheduled, or less -benchtime")
		}
		b.StartTimer()
	}
	slices.Sort(latencies)
	b.ReportMetric(latencies[len(latencies)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(float64(*scheduledTasks)/took.Seconds(), "scheduled/s")
	b.ReportMetric(float64(info)/float64(*scheduledTasks), "file-B/task")
	b.ReportMetric(float64(resident(b)-before)/(1<<20), "RSS-MiB")
}

// statOf is the size of a store's files.
func statOf(b *testing.B, path string) int64 {
	b.Helper()
	size := int64(0)
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(path + suffix)
		require.NoError(b, err)
		size += info.Size()
	}
	return size
}

// resident is what the process has of memory, in bytes; 0 where it can't be known.
func resident(b *testing.B) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	require.NotEmpty(b, fields)
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	require.NoError(b, err)
	return kib << 10
}

package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

// BenchmarkPut puts batches of new dead letters.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			ctx := b.Context()
			s, err := sqlite.Open(ctx, "sqlite:"+filepath.Join(b.TempDir(), "store.db"), sqlite.Options{})
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, s.Close()) })
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				b.StopTimer()
				arrivals := make([]store.Arrival, size)
				for i := range arrivals {
					arrivals[i] = dead(task.NewID(), 1)
					arrivals[i].Fingerprint = store.Fingerprint{GroupID: fmt.Sprintf("%032d", i%20), Version: 1, Message: "the other side is down"}
				}
				b.StartTimer()
				_, err := s.Put(ctx, arrivals)
				require.NoError(b, err)
				n += size
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "dead-letters/s")
		})
	}
}

// BenchmarkFreeze freezes every third of 300,000 dead letters.
func BenchmarkFreeze(b *testing.B) {
	ctx := b.Context()
	s, err := sqlite.Open(ctx, "sqlite:"+filepath.Join(b.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	for i := range 300 {
		arrivals := make([]store.Arrival, 1000)
		for j := range arrivals {
			arrivals[j] = dead(task.NewID(), 1)
			arrivals[j].Notify = false
			arrivals[j].Type = fmt.Sprintf("acme.v1.Type%d.Do", (i*len(arrivals)+j)%3)
		}
		_, err := s.Put(ctx, arrivals)
		require.NoError(b, err)
	}
	f, err := store.Fields.Parse(`type = "acme.v1.Type1.Do"`)
	require.NoError(b, err)
	for b.Loop() {
		set, err := s.Freeze(ctx, store.FreezeRequest{Filter: f, States: []store.State{store.StateOpen}})
		require.NoError(b, err)
		require.Len(b, set.Members, 100_000)
	}
}

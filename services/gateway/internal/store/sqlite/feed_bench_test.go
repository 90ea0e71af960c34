package sqlite

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// BenchmarkFeedWrite applies the QUEUED events of tasks, and writes their entries
// in the feed once more: the share is what the feed adds to the rest.
func BenchmarkFeedWrite(b *testing.B) {
	for _, tasks := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("tasks=%d", tasks), func(b *testing.B) {
			s := openHere(b)
			var applied, fed time.Duration
			for b.Loop() {
				var events []task.Event
				for range tasks {
					events = append(events, queuedEvent(task.NewID()))
				}
				begin := time.Now()
				_, err := s.Apply(b.Context(), events)
				applied += time.Since(begin)
				require.NoError(b, err)
				took, err := s.writeFeed(b, events)
				fed += took
				require.NoError(b, err)
			}
			b.ReportMetric(100*float64(fed)/float64(applied-fed), "%share")
		})
	}
}

// writeFeed writes the entries of events in a transaction, and says how long that
// took without beginning and committing it.
func (s *Store) writeFeed(b *testing.B, events []task.Event) (took time.Duration, err error) {
	err = s.db.Write(b.Context(), func(tx *sql.Tx) error {
		batch := s.newBatch(b.Context(), tx)
		// Something has to be written anyway.
		if _, err := tx.ExecContext(b.Context(), writeCheck, batch.now); err != nil {
			return err
		}
		begin := time.Now()
		for i := range events {
			batch.feed.add(uuid.MustParse(events[i].TaskID), 1)
		}
		_, err := batch.save(b.Context())
		took = time.Since(begin)
		return err
	})
	return took, err
}

// BenchmarkFeedRead follows 10,000 events.
func BenchmarkFeedRead(b *testing.B) {
	const events = 10_000
	s := openHere(b)
	begin, err := s.FeedEnd(b.Context())
	require.NoError(b, err)
	for range events / 100 {
		var batch []task.Event
		for range 100 {
			batch = append(batch, queuedEvent(task.NewID()))
		}
		_, err := s.Apply(b.Context(), batch)
		require.NoError(b, err)
	}
	for name, text := range map[string]string{"all": ``, "none": `state = RUNNING`, "label": `labels.customer = acme`} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				q := store.FeedQuery{From: begin, Filter: parse(b, text), Limit: 100}
				for more := true; more; {
					page, err := s.Feed(b.Context(), q)
					require.NoError(b, err)
					q.From, more = page.Next, page.More
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
	b.Run("nothing new", func(b *testing.B) {
		end, err := s.FeedEnd(b.Context())
		require.NoError(b, err)
		for b.Loop() {
			_, err := s.Feed(b.Context(), store.FeedQuery{From: end, Limit: 100})
			require.NoError(b, err)
		}
	})
}

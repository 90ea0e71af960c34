package retention_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/retention"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

// purger answers purges, and notes them.
type purger struct {
	store.Store
	mu    sync.Mutex
	calls []string
	ended []int
	// keys is how many idempotency keys there are whose window has ended.
	keys   int
	failed error
}

func (p *purger) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
}

// noted gives what was called since the last time.
func (p *purger) noted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.calls = nil }()
	return p.calls
}

func (p *purger) PurgeEnded(_ context.Context, which store.Ended, limit int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("ended before %s, %q but %q, %d", time.Since(which.Before), which.TaskType, which.Except, limit))
	if p.failed != nil {
		return 0, p.failed
	}
	if len(p.ended) == 0 {
		return 0, nil
	}
	n := p.ended[0]
	p.ended = p.ended[1:]
	return n, nil
}

func (p *purger) PurgeTombstones(_ context.Context, before time.Time, limit int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("tombstones before %s, %d", time.Since(before), limit))
	return 0, nil
}

func (p *purger) TrimFeed(_ context.Context, before time.Time, limit int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("feed before %s, %d", time.Since(before), limit))
	return 0, nil
}

func (p *purger) PurgeKeys(_ context.Context, now time.Time, limit int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == 0 {
		return 0, nil
	}
	p.calls = append(p.calls, fmt.Sprintf("keys before %s, %d", time.Since(now), limit))
	n := min(p.keys, limit)
	p.keys -= n
	return n, nil
}

func TestSweepRunsUntilNothingIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &purger{ended: []int{500, 500, 499}, keys: 501}
		s := retention.NewSweeper(p, 48*time.Hour, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
		require.NoError(t, s.Sweep(t.Context()))
		const due, keys = `ended before 48h0m0s, "" but [], 500`, "keys before 0s, 500"
		require.Equal(t, []string{keys, keys, due, due, due, "tombstones before 168h0m0s, 500", "feed before 24h0m0s, 500"}, p.noted())
	})
}

func TestSweepByType(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &purger{ended: []int{500, 1}}
		ages := map[string]time.Duration{"b.v1.B.M": 96 * time.Hour, "a.v1.A.M": time.Hour}
		s := retention.NewSweeper(p, 48*time.Hour, func() (map[string]time.Duration, bool) { return ages, true }, slog.New(slog.NewTextHandler(io.Discard, nil)))
		const tombstones, feed = "tombstones before 168h0m0s, 500", "feed before 24h0m0s, 500"
		require.NoError(t, s.Sweep(t.Context()))
		require.Equal(t, []string{
			`ended before 1h0m0s, "a.v1.A.M" but [], 500`,
			`ended before 1h0m0s, "a.v1.A.M" but [], 500`,
			`ended before 96h0m0s, "b.v1.B.M" but [], 500`,
			`ended before 48h0m0s, "" but ["a.v1.A.M" "b.v1.B.M"], 500`,
			tombstones, feed,
		}, p.noted())
		ages = nil
		require.NoError(t, s.Sweep(t.Context()))
		require.Equal(t, []string{`ended before 48h0m0s, "" but [], 500`, tombstones, feed}, p.noted())
	})
}

func TestRunSweepsEachMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &purger{failed: fmt.Errorf("%w: locked", store.ErrUnavailable)}
		s := retention.NewSweeper(p, time.Hour, nil, slog.New(slog.NewTextHandler(&out, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Run(ctx)
		}()
		synctest.Wait()
		require.Len(t, p.noted(), 1, "at once")
		p.fail(nil)
		for minute := 1; minute <= 3; minute++ {
			<-time.After(time.Minute)
			synctest.Wait()
			require.Len(t, p.noted(), 3, "minute %d", minute)
		}
		cancel()
		<-ended
		require.Contains(t, out.String(), "locked")
	})
}

func TestSweepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := &purger{failed: context.Canceled}
	s := retention.NewSweeper(p, time.Hour, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
	require.ErrorIs(t, s.Sweep(t.Context()), context.Canceled)
	require.Len(t, p.noted(), 1)
}

func TestSweepRemovesWhatEndedLongAgo(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	endOf := func(taskType string, phase task.Phase, age time.Duration) string {
		id := task.NewID()
		_, err := s.Apply(t.Context(), []task.Event{{
			TaskID: id, Type: taskType, Time: time.Now().Add(-age),
			Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: phase, Copy: task.NewCopy()},
		}})
		require.NoError(t, err)
		return id
	}
	end := func(phase task.Phase, age time.Duration) string { return endOf("a.v1.A.B", phase, age) }
	gone := []string{end(task.PhaseSucceeded, 2*time.Hour), end(task.PhaseCancelled, 2*time.Hour), endOf("a.v1.A.Short", task.PhaseSucceeded, 30*time.Minute)}
	kept := []string{
		end(task.PhaseSucceeded, 30*time.Minute), end(task.PhaseDeadLettered, 2*time.Hour), end(task.PhaseStarted, 2*time.Hour),
		endOf("a.v1.A.Long", task.PhaseSucceeded, 2*time.Hour), endOf("a.v1.A.Short", task.PhaseSucceeded, time.Minute),
	}
	ages := func() (map[string]time.Duration, bool) {
		return map[string]time.Duration{"a.v1.A.Short": 10 * time.Minute, "a.v1.A.Long": 3 * time.Hour}, true
	}
	require.NoError(t, retention.NewSweeper(s, time.Hour, ages, slog.New(slog.NewTextHandler(io.Discard, nil))).Sweep(t.Context()))
	for _, id := range gone {
		_, err := s.Task(t.Context(), id)
		require.True(t, errors.Is(err, store.ErrNotFound), "%v", err)
	}
	for _, id := range kept {
		_, err := s.Task(t.Context(), id)
		require.NoError(t, err)
	}
}

func TestNothingIsRemovedBeforeTheRetentionsAreKnown(t *testing.T) {
	t.Parallel()
	p := &purger{keys: 1}
	unknown := func() (map[string]time.Duration, bool) { return nil, false }
	require.NoError(t, retention.NewSweeper(p, time.Hour, unknown, slog.New(slog.DiscardHandler)).Sweep(t.Context()))
	require.Len(t, p.noted(), 1)
	require.Zero(t, p.keys, "whose window has nothing to do with that")
}

package groups_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// signalling tells of each time that nothing is left to be grouped, and is away at first.
type signalling struct {
	store.Store
	away int
	done chan struct{}
}

func (s *signalling) Ungrouped(ctx context.Context, version, limit int) ([]store.Ungrouped, error) {
	if s.away > 0 {
		s.away--
		return nil, store.ErrUnavailable
	}
	found, err := s.Store.Ungrouped(ctx, version, limit)
	if err == nil && len(found) == 0 {
		select {
		case s.done <- struct{}{}:
		default:
		}
	}
	return found, err
}

// What was stored before there were groups gets the groups that it would have had.
func TestKeeperGroupsWhatIsThere(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	const n = 600
	arrivals := make([]store.Arrival, n)
	for i := range arrivals {
		arrivals[i] = store.Arrival{ID: task.NewID(), Type: "a.v1.A.B", Occurrence: store.Occurrence{
			Run: 1, Cause: task.CausePermanentFailure, DeadTime: time.Now(),
			Failure: &task.Failure{Code: 5, Message: []string{"order-4711 is gone", "no such user"}[i%2]},
		}}
	}
	_, err = s.Put(t.Context(), arrivals)
	require.NoError(t, err)
	watched := &signalling{Store: s, away: 1, done: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		groups.NewKeeper(watched, slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	select {
	case <-watched.done:
	case <-time.After(time.Minute):
		require.Fail(t, "the keeper does not end")
	}
	cancel()
	<-ended
	for i := range 2 {
		a := arrivals[i]
		groups.Identify(&a)
		g, err := s.Group(t.Context(), a.Fingerprint.GroupID)
		require.NoError(t, err)
		require.EqualValues(t, n/2, g.Count)
		require.EqualValues(t, n/2, g.Open)
		require.Equal(t, a.Fingerprint.Message, g.Message)
		d, err := s.Get(t.Context(), a.ID, false)
		require.NoError(t, err)
		require.Equal(t, g.ID, d.GroupID)
		require.Equal(t, "1", d.Etag)
	}
}

package gateway

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// unmeasured are metrics of a store that nobody reads.
func unmeasured() *sqldb.Metrics {
	return sqldb.NewMetrics(noop.NewMeterProvider(), "gateway", "", storeProblem)
}

func TestOpenStore(t *testing.T) {
	t.Parallel()
	s, err := openStore(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), unmeasured(), quiet())
	require.NoError(t, err)
	// It goes on in the background if it takes longer than a moment.
	brokertest.Eventually(t, 20*time.Second, func() error { return s.Check(t.Context()) })
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Check(t.Context()), store.ErrUnavailable)
}

func TestOpenStoreRefusesWhatIsNoStore(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("not a database", 100)), 0o600))
	for _, url := range []string{"", "store.db", "mysql:x", "sqlite:", "sqlite:" + file, "sqlite:" + filepath.Join(file, "store.db")} {
		out := &logged{lines: make(chan struct{}, 1)}
		_, err := openStore(t.Context(), url, unmeasured(), slog.New(slog.NewTextHandler(out, nil)))
		require.ErrorContains(t, err, "open the store", "%q", url)
		require.Empty(t, out.String(), "it is said once")
	}
}

// logged is a log that a test waits for.
type logged struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	lines chan struct{}
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.lines <- struct{}{}:
	default:
	}
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// blocked is a store's URL that can't be opened until unblock, by root neither:
// a folder is where the file is to be.
func blocked(t *testing.T) (url string, unblock func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, os.Mkdir(path, 0o755))
	return "sqlite:" + path, func() { require.NoError(t, os.Remove(path)) }
}

func TestStoreIsOpenedInTheBackground(t *testing.T) {
	t.Parallel()
	url, unblock := blocked(t)
	out := &logged{lines: make(chan struct{}, 1)}
	s, err := openStore(t.Context(), url, unmeasured(), slog.New(slog.NewTextHandler(out, nil)))
	require.NoError(t, err)
	for name, ask := range map[string]func() error{
		"apply":      func() error { _, err := s.Apply(t.Context(), nil); return err },
		"task":       func() error { _, err := s.Task(t.Context(), task.NewID()); return err },
		"body":       func() error { _, err := s.Body(t.Context(), task.NewID(), 1); return err },
		"events":     func() error { _, err := s.Events(t.Context(), task.NewID(), 0, 1, true); return err },
		"history":    func() error { _, err := s.History(t.Context(), task.NewID()); return err },
		"start":      func() error { _, err := s.Start(t.Context(), nil); return err },
		"claim":      func() error { _, _, err := s.ClaimRun(t.Context(), task.NewID(), 1, task.Copy{}); return err },
		"override":   func() error { return s.PutOverride(t.Context(), store.Override{}) },
		"list":       func() error { _, err := s.List(t.Context(), store.Query{}); return err },
		"feed":       func() error { _, err := s.Feed(t.Context(), store.FeedQuery{}); return err },
		"feed end":   func() error { _, err := s.FeedEnd(t.Context()); return err },
		"trim feed":  func() error { _, err := s.TrimFeed(t.Context(), time.Now(), 1); return err },
		"overrides":  func() error { _, err := s.Overrides(t.Context()); return err },
		"purge":      func() error { _, err := s.PurgeEnded(t.Context(), store.Ended{Before: time.Now()}, 1); return err },
		"tombstones": func() error { _, err := s.PurgeTombstones(t.Context(), time.Now(), 1); return err },
		"put":        func() error { return s.PutBundle(t.Context(), store.BundleRecord{}) },
		"bundles":    func() error { _, err := s.Bundles(t.Context()); return err },
		"check":      func() error { return s.Check(t.Context()) },
	} {
		require.ErrorIs(t, ask(), store.ErrUnavailable, name)
	}
	<-out.lines
	require.Contains(t, out.String(), "waiting for the store")
	unblock()
	brokertest.Eventually(t, patience, func() error { return s.Check(t.Context()) })
	_, err = s.Task(t.Context(), task.NewID())
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Check(t.Context()), store.ErrUnavailable)
	require.NoError(t, s.Close())
}

func TestCloseEndsTheWaitForTheStore(t *testing.T) {
	t.Parallel()
	url, _ := blocked(t)
	s, err := openStore(t.Context(), url, unmeasured(), quiet())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Check(t.Context()), store.ErrUnavailable)
}

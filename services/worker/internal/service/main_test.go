package service

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/worker/internal/discovery"
	"github.com/warrenmq/warren/services/worker/internal/target"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const patience = 15 * time.Second

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// quick are the periods of tests.
var quick = periods{relearn: 20 * time.Millisecond, confirm: 20 * time.Millisecond, retry: 20 * time.Millisecond, learn: patience, settle: patience}

// watch watches a target until the test ends.
func watch(t *testing.T, address string, p periods, source func(*target.Target) discovery.Source) *watcher {
	t.Helper()
	to, err := target.Dial(target.Config{Names: []string{address}})
	require.NoError(t, err)
	if source == nil {
		source = func(to *target.Target) discovery.Source { return discovery.NewReflection(to, nil) }
	}
	w := newWatcher(to, source(to), quiet())
	w.periods = p
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { to.Watch(ctx) })
	running.Go(func() { w.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		require.NoError(t, to.Close())
	})
	return w
}

// await reads views until one is as wanted.
func await(t *testing.T, views <-chan view, what string, wanted func(view) bool) view {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var last view
	for {
		select {
		case last = <-views:
			if wanted(last) {
				return last
			}
		case <-timer.C:
			require.Fail(t, "no view with "+what, fmt.Sprintf("the last has trouble %v", last.trouble))
		}
	}
}

func ready(v view) bool { return v.trouble == nil && v.schema != nil }

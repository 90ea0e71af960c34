package service

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
	"github.com/warrenmq/warren/services/worker/internal/discovery"
)

// fakeRunner is a worker that tells what it is told.
type fakeRunner struct {
	schema *discovery.Schema
	// said has "run", "pause: …", "resume" and "stop".
	said chan string
	// drained lets it end once it was stopped; failed ends it at once.
	drained chan struct{}
	failed  chan error
}

func (f *fakeRunner) Run(ctx context.Context) error {
	f.said <- "run"
	select {
	case err := <-f.failed:
		return err
	case <-ctx.Done():
	}
	f.said <- "stop"
	<-f.drained
	return nil
}

func (f *fakeRunner) Pause(reason string) { f.said <- "pause: " + reason }
func (f *fakeRunner) Resume()             { f.said <- "resume" }

// stage runs generations of fake workers.
type stage struct {
	views chan view
	made  chan *fakeRunner
	ended chan error
	stop  context.CancelFunc
}

func newStage(t *testing.T, log *slog.Logger) *stage {
	t.Helper()
	s := &stage{views: make(chan view), made: make(chan *fakeRunner, 10), ended: make(chan error, 1)}
	g := &generations{log: log, make: func(schema *discovery.Schema) (runner, error) {
		f := &fakeRunner{schema: schema, said: make(chan string, 100), drained: make(chan struct{}), failed: make(chan error, 1)}
		s.made <- f
		return f, nil
	}}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.ended <- g.run(ctx, s.views) }()
	t.Cleanup(cancel)
	return s
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing comes")
		panic("unreachable")
	}
}

// says reads what the worker was told, in any order.
func (f *fakeRunner) says(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, next(t, f.said))
	}
	require.ElementsMatch(t, want, got)
}

func TestOneWorkerAfterAnother(t *testing.T) {
	t.Parallel()
	one, two := schemaWith(t), schemaWith(t, "Two")
	s := newStage(t, quiet())
	s.views <- view{schema: one}
	first := next(t, s.made)
	require.Same(t, one, first.schema)
	first.says(t, "resume", "run")

	s.views <- view{schema: one, trouble: errors.New("gone")}
	first.says(t, "pause: gone")
	s.views <- view{schema: one}
	first.says(t, "resume")

	s.views <- view{schema: two}
	first.says(t, "stop", "resume")
	s.views <- view{schema: two, trouble: errors.New("gone again")}
	first.says(t, "pause: gone again")
	require.Empty(t, s.made, "the first one drains")
	close(first.drained)
	second := next(t, s.made)
	require.Same(t, two, second.schema)
	second.says(t, "pause: gone again", "run")
	require.NotNil(t, second)

	s.stop()
	second.says(t, "stop")
	require.Empty(t, s.ended, "it drains")
	close(second.drained)
	require.NoError(t, next(t, s.ended))
}

func TestNoWorkerBeforeTheTargetIsKnown(t *testing.T) {
	t.Parallel()
	log := &logtest.Buffer{}
	s := newStage(t, slog.New(slog.NewTextHandler(log, nil)))
	s.views <- view{trouble: errors.New("it hides")}
	brokertest.Eventually(t, patience, func() bool { return len(log.String()) > 0 })
	require.Contains(t, log.String(), "it hides")
	require.Empty(t, s.made)
	s.stop()
	require.NoError(t, next(t, s.ended))
}

func TestAWorkerThatFailsEndsTheProcess(t *testing.T) {
	t.Parallel()
	s := newStage(t, quiet())
	s.views <- view{schema: schemaWith(t)}
	failed := errors.New("stuck")
	next(t, s.made).failed <- failed
	require.ErrorIs(t, next(t, s.ended), failed)
}

func TestAWorkerThatWasAskedToDrainEndsTheProcess(t *testing.T) {
	t.Parallel()
	s := newStage(t, quiet())
	s.views <- view{schema: schemaWith(t)}
	next(t, s.made).failed <- nil
	require.NoError(t, next(t, s.ended))
	require.Empty(t, s.made, "no other takes its place")
}

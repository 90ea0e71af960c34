package retention

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/telemetry/logtest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers as its script says, and with nothing after that.
type fake struct {
	mu     sync.Mutex
	steps  []step
	asked  []store.ExpirePlace
	forgot int
	events int
}

type step struct {
	expired []store.Expired
	next    store.ExpirePlace
	err     error
}

func (f *fake) Expire(_ context.Context, from store.ExpirePlace) ([]store.Expired, store.ExpirePlace, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, from)
	if len(f.steps) == 0 {
		return nil, store.ExpirePlace{}, nil
	}
	s := f.steps[0]
	f.steps = f.steps[1:]
	return s.expired, s.next, s.err
}

func (f *fake) Forget(context.Context) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgot++
	return f.events, nil
}

func places(n int) []store.ExpirePlace {
	all := make([]store.ExpirePlace, n)
	for i := range all {
		all[i] = store.ExpirePlace{State: store.StateOpen, Type: strings.Repeat("x", i+1)}
	}
	return all
}

func TestASweepGoesOnWhereTheLastOneWas(t *testing.T) {
	t.Parallel()
	f := &fake{}
	all := places(maxSteps + 2)
	for _, place := range all {
		f.steps = append(f.steps, step{next: place})
	}
	s := New(f, slog.New(slog.DiscardHandler))
	require.NoError(t, s.sweep(t.Context()))
	require.Len(t, f.asked, maxSteps, "others wait for the store, too")
	require.NoError(t, s.sweep(t.Context()))
	require.Equal(t, append([]store.ExpirePlace{{}}, all...), f.asked)
	require.Zero(t, s.place, "the next round begins")
	require.Equal(t, 2, f.forgot)
}

func TestWhatExpiresIsLogged(t *testing.T) {
	t.Parallel()
	out := &logtest.Buffer{}
	f := &fake{events: 7, steps: []step{{expired: []store.Expired{
		{State: store.StateOpen}, {State: store.StatePurged}, {State: store.StateOpen},
	}}}}
	require.NoError(t, New(f, slog.New(slog.NewTextHandler(out, nil))).sweep(t.Context()))
	require.Contains(t, out.String(), "were.OPEN=2 were.PURGED=1")
	require.Contains(t, out.String(), "count=7")
}

func TestTheStoreIsWaitedFor(t *testing.T) {
	t.Parallel()
	out, f := &logtest.Buffer{}, &fake{}
	f.steps = []step{{next: places(1)[0]}, {err: store.ErrUnavailable}, {err: errors.New("odd")}, {err: store.ErrUnavailable}}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			New(f, slog.New(slog.NewTextHandler(out, nil))).Run(ctx)
		}()
		<-time.After(4*sweepPeriod + time.Second)
		synctest.Wait()
		cancel()
		<-ended
	})
	require.Equal(t, []store.ExpirePlace{{}, places(1)[0], places(1)[0], places(1)[0], places(1)[0], {}}, f.asked)
	require.Equal(t, 1, strings.Count(out.String(), "level=WARN"), "it is said once in a while: %s", out)
	require.Equal(t, 2, f.forgot)
}

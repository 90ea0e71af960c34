package lazy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/lazy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errUnavailable = errors.New("unavailable")

// door counts how often it was closed.
type door struct{ closed int }

func (d *door) Close() error {
	d.closed++
	return nil
}

func name(*door) (string, error) { return "door", nil }

func TestOpensInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		tries, opened, d := make(chan int, 100), make(chan struct{}), &door{}
		n := 0
		r, err := lazy.Open(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), "the door", errUnavailable, func(context.Context) (*door, error) {
			n++
			tries <- n
			if n < 4 {
				return nil, fmt.Errorf("%w: locked", errUnavailable)
			}
			close(opened)
			return d, nil
		})
		require.NoError(t, err)
		_, err = lazy.Ask(r, name)
		require.ErrorIs(t, err, errUnavailable)
		require.ErrorIs(t, lazy.Tell(r, (*door).Close), errUnavailable)
		<-opened
		synctest.Wait()
		require.Len(t, tries, 4)
		got, err := lazy.Ask(r, name)
		require.NoError(t, err)
		require.Equal(t, "door", got)
		require.Contains(t, out.String(), "waiting for the door")
		require.Contains(t, out.String(), "the door is open")
		require.NoError(t, r.Close())
		require.Equal(t, 1, d.closed)
	})
}

func TestFaultShowsAtOnce(t *testing.T) {
	t.Parallel()
	fault := errors.New("no such scheme")
	_, err := lazy.Open(t.Context(), slog.New(slog.DiscardHandler), "the door", errUnavailable, func(context.Context) (*door, error) { return nil, fault })
	require.ErrorIs(t, err, fault)
	require.ErrorContains(t, err, "open the door")
}

// A fault that shows up when a lock is gone is waited for too: what does not
// need the resource goes on.
func TestALateFaultIsNoReasonToStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := make(chan struct{}, 100)
		n := 0
		r, err := lazy.Open(t.Context(), slog.New(slog.DiscardHandler), "the door", errUnavailable, func(context.Context) (*door, error) {
			tries <- struct{}{}
			if n++; n == 1 {
				return nil, errUnavailable
			}
			return nil, errors.New("disk on fire")
		})
		require.NoError(t, err)
		for range 3 {
			<-tries
		}
		synctest.Wait()
		_, err = r.Get()
		require.ErrorIs(t, err, errUnavailable)
		require.ErrorContains(t, err, "disk on fire")
		require.NoError(t, r.Close())
	})
}

func TestSlowOpenIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	r, err := lazy.Open(t.Context(), slog.New(slog.DiscardHandler), "the door", errUnavailable, func(ctx context.Context) (*door, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	require.NoError(t, err)
	_, err = r.Get()
	require.ErrorIs(t, err, errUnavailable)
	require.NoError(t, r.Close())
	_, err = r.Get()
	require.ErrorIs(t, err, errUnavailable)
}

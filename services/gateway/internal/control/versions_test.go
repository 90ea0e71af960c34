package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// requireVersion demands the version of what a worker is told of resize; without a
// worker, of what all are.
func requireVersion(t *testing.T, b *bench, workerID string, control, worker int64) {
	t.Helper()
	got := policyOf(b, workerID).Version
	require.True(t, proto.Equal(&brokerv1.PolicyVersion{Control: control, Worker: worker}, got), "%v", got)
}

func TestVersionsAreTheStores(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		requireVersion(t, b, "w-1", 0, 0)
		pause := func(on *bench, p *brokerv1.Pause) {
			_, err := on.SetPause(t.Context(), resize, p, "a test")
			require.NoError(t, err)
		}
		pause(b, &brokerv1.Pause{Reason: "x"})
		requireVersion(t, b, "w-1", 1, 0)
		_, err := b.SetConcurrency(t.Context(), resize, "w-1", 3, nil, "a test")
		require.NoError(t, err)
		requireVersion(t, b, "w-1", 1, 1)
		requireVersion(t, b, "w-2", 1, 0)
		requireVersion(t, b, "", 1, 0)

		// Another replica, which is started later, goes on from there.
		other := newBench(b.store)
		require.NoError(t, other.refresh(t.Context()))
		requireVersion(t, other, "w-1", 1, 1)
		pause(other, nil)
		requireVersion(t, other, "w-1", 2, 1)
		requireVersion(t, b, "w-1", 1, 1)
		require.NotNil(t, policyOf(b, "w-1").Pause, "it has not heard of it yet")
		require.NoError(t, b.Reread(t.Context()))
		requireVersion(t, b, "w-1", 2, 1)
		require.Nil(t, policyOf(b, "w-1").Pause)

		// What was overridden is the registry's, and stays.
		p := &brokerv1.TypePolicy{Type: resize, Version: &brokerv1.PolicyVersion{Override: 7, Control: 99}}
		b.Decorate("w-1", p)
		require.True(t, proto.Equal(&brokerv1.PolicyVersion{Control: 2, Worker: 1, Override: 7}, p.Version))
	})
}

// The end of a pause by itself is no change of what is set.
func TestAPauseThatEndsKeepsItsVersion(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		_, err := b.SetPause(t.Context(), resize, &brokerv1.Pause{Reason: "x", Until: timestamppb.New(time.Now().Add(time.Minute))}, "a test")
		require.NoError(t, err)
		sleep(2 * time.Minute)
		require.Nil(t, policyOf(b, "").Pause)
		requireVersion(t, b, "", 1, 0)
	})
}

// What the store does not have any more is not in force any more.
func TestAStoreThatWasReplaced(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		for range 3 {
			_, err := b.SetPause(t.Context(), resize, &brokerv1.Pause{Reason: "x"}, "a test")
			require.NoError(t, err)
		}
		b.store.mu.Lock()
		key := settingKey{taskType: resize}
		backup := b.store.controls[key]
		backup.Version, backup.Encoded = 1, nil
		b.store.controls[key] = backup
		b.store.mu.Unlock()
		require.NoError(t, b.Reread(t.Context()))
		requireVersion(t, b, "", 1, 0)
		require.Nil(t, policyOf(b, "").Pause)
	})
}

// A look at the store that was begun before something was set does not undo it.
func TestAnOldReadDoesNotUndoAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(newMemory())
		read, answer, rests := make(chan struct{}), make(chan struct{}), 0
		b.store.pause = func() {
			// The second is between the read and its answer.
			if rests++; rests == 2 {
				close(read)
				<-answer
			}
		}
		errs := make(chan error, 2)
		go func() { errs <- b.Reread(t.Context()) }()
		<-read
		go func() {
			_, err := b.SetPause(t.Context(), resize, &brokerv1.Pause{Reason: "x"}, "a test")
			errs <- err
		}()
		synctest.Wait()
		close(answer)
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		require.NotNil(t, policyOf(b, "").Pause)
		requireVersion(t, b, "", 1, 0)
	})
}

func TestWhoWaitsToSetSomethingGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	b := newBench(newMemory())
	unlock, err := b.lockSettings(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.SetPause(ctx, resize, nil, "a test")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, b.Reread(ctx), context.Canceled)
	unlock()
	b.store.fail(store.ErrUnavailable)
	require.ErrorIs(t, b.Reread(t.Context()), store.ErrUnavailable)
}

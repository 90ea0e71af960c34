package noop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
)

// heard is what a reporter that keeps one id has told when f has returned.
func heard(t *testing.T, f func(*registrar)) string {
	t.Helper()
	var out strings.Builder
	f(registered(t, &out, 1))
	return out.String()
}

func TestABatchHasMarksOnItsWay(t *testing.T) {
	for tasks, want := range map[uint32][]int{1: {1}, 2: {1, 2}, 9: {1, 9}, 10: {1, 9}, 11: {2, 10}, 100: {10, 90}} {
		l := NewListener()
		l.Listen(strings.NewReader(heard(t, func(r *registrar) {
			for range tasks {
				_, err := r.call("a", Order{Batch: 7, Tasks: tasks}.Payload(), nil)
				require.NoError(t, err)
			}
		})))
		var counts []int
		for _, m := range l.MarksOf(7) {
			counts = append(counts, m.Attempts)
			require.WithinDuration(t, time.Now(), m.Time, time.Minute)
		}
		require.Equal(t, want, counts)
		if tasks > 1 {
			marks, err := l.AwaitMarks(t.Context(), 7, Marks)
			require.NoError(t, err)
			require.Len(t, marks, Marks)
		}
		_, err := l.AwaitMarks(t.Context(), 7, Marks+1)
		require.ErrorIs(t, err, io.EOF)
	}
}

func TestMarksAreAtFirstAttemptsAndCountAll(t *testing.T) {
	failing := Order{Batch: 1, Tasks: 10, FailFirst: true}.Payload()
	report := heard(t, func(r *registrar) {
		for i := range 10 {
			for attempt := range 2 {
				_, _ = r.attempt(t.Context(), task.Info{ID: fmt.Sprint("task-", i), Attempt: attempt + 1}, failing, nil)
			}
		}
	})
	require.Regexp(t, `^reached 1 1 \d+\nreached 1 17 \d+\nall 1 task-9\n$`, report)
}

func TestAnOrderToFailFailsOnce(t *testing.T) {
	payload := Order{Batch: 1, Tasks: 1, FailFirst: true}.Payload()
	report := heard(t, func(r *registrar) {
		_, err := r.call("a", payload, nil)
		advice, after := task.AdviceOf(err)
		require.Equal(t, task.AdviceRetryAfter, advice)
		require.Equal(t, RetryDelay, after)
		_, err = r.attempt(t.Context(), task.Info{ID: "a", Attempt: 2}, payload, nil)
		require.NoError(t, err)
	})
	require.Regexp(t, `^reached 1 1 \d+\nall 1 a\n$`, report, "it counts once")

	payload = Order{Batch: 1, FailFirst: true}.Payload()
	report = heard(t, func(r *registrar) {
		_, err := r.call("a", payload, nil)
		require.Error(t, err)
		_, err = r.attempt(t.Context(), task.Info{ID: "a", Attempt: 2}, payload, nil)
		require.NoError(t, err)
	})
	require.Regexp(t, `^started a \d+\n$`, report, "of its starts the first is told")
}

func TestAnOrderTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := registered(t, io.Discard, 1)
		begin := time.Now()
		_, err := r.call("a", Order{Batch: 1, Tasks: 1, Take: time.Minute}.Payload(), nil)
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(begin))

		why := errors.New("drained")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		_, err = r.attempt(ctx, task.Info{ID: "a", Attempt: 1}, Order{Take: time.Minute}.Payload(), nil)
		require.ErrorIs(t, err, why)
		require.Equal(t, time.Minute+time.Second, time.Since(begin))
	})
}

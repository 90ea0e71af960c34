package api

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatWaitsGoesTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls [][]int
		goOn := make(chan struct{})
		var fail error
		g := &group[int, int]{most: 5, within: time.Minute, do: func(ctx context.Context, questions []int) ([]int, error) {
			calls = append(calls, questions)
			select {
			case <-goOn:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			answers := make([]int, len(questions))
			for i, q := range questions {
				answers[i] = 10 * q
			}
			return answers, fail
		}}
		var wg sync.WaitGroup
		ask := func(ctx context.Context, want error, questions ...int) {
			wg.Go(func() {
				answers, err := g.ask(ctx, questions)
				assert.ErrorIs(t, err, want)
				var all []int
				for _, q := range questions {
					all = append(all, 10*q)
				}
				if want != nil {
					all = nil
				}
				assert.Equal(t, all, answers)
			})
			synctest.Wait()
		}
		gone, leave := context.WithCancel(t.Context())
		// Whoever has the turn may leave too: the others have their answers all the same.
		ask(gone, nil, 1)
		leading, leaveLead := context.WithCancel(t.Context())
		ask(leading, nil, 2, 3)
		ask(gone, context.Canceled, 99)
		ask(t.Context(), nil, 4)
		ask(t.Context(), nil, 5, 6, 7)
		ask(t.Context(), nil, 10, 11, 12, 13, 14, 15, 16)
		require.Equal(t, [][]int{{1}}, calls)
		leave()
		synctest.Wait()
		goOn <- struct{}{}
		synctest.Wait()
		leaveLead()
		synctest.Wait()
		for range 3 {
			goOn <- struct{}{}
		}
		wg.Wait()
		require.Equal(t, [][]int{{1}, {2, 3, 4}, {5, 6, 7}, {10, 11, 12, 13, 14, 15, 16}}, calls)

		// An error is everybody's, and ends nothing.
		fail = errors.New("away")
		ask(t.Context(), fail, 1)
		ask(t.Context(), fail, 2)
		goOn <- struct{}{}
		goOn <- struct{}{}
		wg.Wait()
		fail = nil
		ask(t.Context(), nil, 3)
		goOn <- struct{}{}
		wg.Wait()

		// So is the end of its time.
		ask(t.Context(), context.DeadlineExceeded, 1)
		ask(t.Context(), nil, 2)
		began := time.Now()
		time.AfterFunc(g.within+time.Second, func() { goOn <- struct{}{} })
		wg.Wait()
		require.Equal(t, g.within+time.Second, time.Since(began))
	})
}

// Calls come and go at any time; each that stays has its own answers.
func TestAGroupLosesNobody(t *testing.T) {
	t.Parallel()
	const calls = 300
	ctxs, leave := make([]context.Context, calls), make([]context.CancelFunc, calls)
	for n := range calls {
		ctxs[n], leave[n] = context.WithCancel(t.Context())
		defer leave[n]()
	}
	g := &group[int, int]{most: 7, within: time.Minute, do: func(ctx context.Context, questions []int) ([]int, error) {
		// Some leave at this moment, who has the turn among them.
		for _, n := range questions {
			if n >= 0 && n%3 == 0 {
				leave[n]()
			}
		}
		return append([]int{}, questions...), ctx.Err()
	}}
	var wg sync.WaitGroup
	for n := range calls {
		wg.Go(func() {
			answers, err := g.ask(ctxs[n], []int{n, -n})
			if stays := n%3 > 0; !stays && err != nil {
				assert.ErrorIs(t, err, context.Canceled)
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, []int{n, -n}, answers)
		})
		if n%6 == 0 {
			wg.Go(leave[n])
		}
	}
	wg.Wait()
	require.Empty(t, g.waiting)
	require.False(t, g.busy)
}

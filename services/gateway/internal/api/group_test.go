package api

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestWhatWaitsGoesTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls [][]int
		goOn := make(chan struct{})
		var fail error
		g := &group[int, int]{most: 5, do: func(_ context.Context, questions []int) ([]int, error) {
			calls = append(calls, questions)
			<-goOn
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
				require.ErrorIs(t, err, want)
				require.Equal(t, want == nil, err == nil)
				for i, a := range answers {
					require.Equal(t, 10*questions[i], a)
				}
				if err == nil {
					require.Len(t, answers, len(questions))
				}
			})
			synctest.Wait()
		}
		gone, leave := context.WithCancel(t.Context())
		ask(t.Context(), nil, 1)
		ask(t.Context(), nil, 2, 3)
		ask(gone, context.Canceled, 99)
		ask(t.Context(), nil, 4)
		ask(t.Context(), nil, 5, 6, 7)
		ask(t.Context(), nil, 10, 11, 12, 13, 14, 15, 16)
		require.Equal(t, [][]int{{1}}, calls)
		leave()
		synctest.Wait()
		for range 4 {
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
	})
}

// Calls come and go at any time; each that stays has its own answers.
func TestAGroupLosesNobody(t *testing.T) {
	t.Parallel()
	g := &group[int, int]{most: 7, do: func(_ context.Context, questions []int) ([]int, error) {
		return append([]int{}, questions...), nil
	}}
	var wg sync.WaitGroup
	for n := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			answers, err := g.ask(ctx, []int{n, -n})
			if err == nil {
				require.Equal(t, []int{n, -n}, answers)
			} else {
				require.ErrorIs(t, err, context.Canceled)
			}
		})
		if n%3 == 0 {
			wg.Go(cancel)
		} else {
			t.Cleanup(cancel)
		}
	}
	wg.Wait()
	require.Empty(t, g.waiting)
	require.False(t, g.busy)
}

package storetest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var changeRules = map[string]func(*testing.T, store.Store){
	"Changes/show what changed, in order":    showsChanges,
	"Changes/of a filter go past the others": filtersChanges,
	"Changes/miss none beside writers":       missesNoChange,
}

func changesAfter(t *testing.T, s store.Store, after int64, f filter.Expr, limit int) store.ChangePage {
	t.Helper()
	page, err := s.Changes(t.Context(), after, f, limit, false)
	require.NoError(t, err)
	return page
}

func showsChanges(t *testing.T, s store.Store) {
	last, err := s.LatestChange(t.Context())
	require.NoError(t, err)
	require.Zero(t, last)
	require.Equal(t, store.ChangePage{Through: 7}, changesAfter(t, s, 7, nil, 10))

	a, b, c := task.NewID(), task.NewID(), task.NewID()
	put(t, s, arrival(a, 1), arrival(b, 1), arrival(c, 1))
	page := changesAfter(t, s, 0, nil, 2)
	require.Equal(t, []string{a, b}, ids(page.DeadLetters))
	require.True(t, page.More)
	require.Equal(t, page.DeadLetters[1].Change, page.Through)

	replay(t, s, a, 2)
	put(t, s, arrival(c, 1)) // nothing new
	page = changesAfter(t, s, page.Through, nil, 10)
	require.Equal(t, []string{c, a}, ids(page.DeadLetters))
	require.Equal(t, basic(get(t, s, a)), page.DeadLetters[1])
	require.False(t, page.More)
	last, err = s.LatestChange(t.Context())
	require.NoError(t, err)
	require.Equal(t, last, page.Through)
	require.Empty(t, changesAfter(t, s, last, nil, 10).DeadLetters)

	_, err = s.Resolve(t.Context(), a, 2, store.OutcomeSucceeded)
	require.NoError(t, err)
	discard(t, s, b)
	resolveNow(t, s, c)
	full, err := s.Changes(t.Context(), last, nil, 10, true)
	require.NoError(t, err)
	require.Equal(t, []store.DeadLetter{get(t, s, a), get(t, s, b), get(t, s, c)}, full.DeadLetters)
	require.Equal(t, store.ChangePage{Through: last}, changesAfter(t, s, last, nil, 0))
}

func filtersChanges(t *testing.T, s store.Store) {
	put(t, s, arrival(task.NewID(), 1), arrival(task.NewID(), 2), arrival(task.NewID(), 2), arrival(task.NewID(), 1))
	last, err := s.LatestChange(t.Context())
	require.NoError(t, err)
	page := changesAfter(t, s, 0, parse(t, `run = 2`), 1)
	require.Len(t, page.DeadLetters, 1)
	require.True(t, page.More)
	page = changesAfter(t, s, page.Through, parse(t, `run = 2`), 1)
	require.Len(t, page.DeadLetters, 1)
	require.False(t, page.More)
	require.Equal(t, last, page.Through)
}

// missesNoChange follows the changes while several write: each dead letter must
// show up after its last change.
func missesNoChange(t *testing.T, s store.Store) {
	const writers, each = 4, 15
	g, ctx := errgroup.WithContext(t.Context())
	wrote := make(chan struct{}, writers*each)
	for range writers {
		g.Go(func() error {
			for range each {
				if err := putAndReplay(ctx, s); err != nil {
					return err
				}
				wrote <- struct{}{}
			}
			return nil
		})
	}
	seen := map[string]store.State{}
	g.Go(func() error {
		after := int64(0)
		for range writers * each {
			select {
			case <-wrote:
			case <-ctx.Done():
				return ctx.Err()
			}
			page, err := s.Changes(ctx, after, nil, store.MaxPage, false)
			if err != nil {
				return err
			}
			for _, d := range page.DeadLetters {
				seen[d.ID] = d.State
			}
			after = page.Through
		}
		return nil
	})
	require.NoError(t, g.Wait())
	require.Len(t, seen, writers*each)
	for _, state := range seen {
		require.Equal(t, store.StateInReplay, state)
	}
}

func putAndReplay(ctx context.Context, s store.Store) error {
	id := task.NewID()
	if _, err := s.Put(ctx, []store.Arrival{arrival(id, 1)}); err != nil {
		return err
	}
	_, _, err := s.BeginReplay(ctx, store.ReplayRequest{ID: id, Run: 2})
	return err
}

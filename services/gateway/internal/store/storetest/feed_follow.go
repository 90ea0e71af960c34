package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var followRules = map[string]func(*testing.T, store.Store){
	"Feed/has each stored event once, beside writers": feedBesideWriters,
}

// feedBesideWriters has a reader follow several writers, forgetting what it has
// read, while tasks that have ended are purged.
func feedBesideWriters(t *testing.T, s store.Store) {
	const writers, tasks = 3, 40
	begin := feedBegin(t, s)
	g, ctx := errgroup.WithContext(t.Context())
	written := make(chan []eventName, writers*tasks)
	var writing errgroup.Group
	for range writers {
		writing.Go(func() error { return writeTasks(ctx, s, tasks, written) })
	}
	g.Go(func() error {
		defer close(written)
		return writing.Wait()
	})
	seen := map[eventName]int{}
	g.Go(func() error { return followFeed(ctx, s, begin, written, seen) })
	require.NoError(t, g.Wait())
	for name, times := range seen {
		require.Equal(t, 1, times, name)
	}
}

// writeTasks applies tasks event by event, each of them twice. Every other one is
// purged when it has ended.
func writeTasks(ctx context.Context, s store.Store, tasks int, written chan<- []eventName) error {
	for i := range tasks {
		id := task.NewID()
		kept := []eventName{{id, 1}, {id, 2}, {id, 3}}
		end := delivered(id, task.PhaseDeadLettered)
		if i%2 == 0 {
			end, kept = succeeded(id), nil
		}
		for _, events := range [][]task.Event{{queued(id)}, {queued(id), started(id)}, {started(id), end}} {
			if _, err := s.Apply(ctx, events); err != nil {
				return err
			}
		}
		if _, err := s.PurgeEnded(ctx, store.Ended{Before: at(1_000_000)}, store.MaxPurge); err != nil {
			return err
		}
		written <- kept
	}
	return nil
}

// followFeed reads the feed until all that is known to be written was seen.
func followFeed(ctx context.Context, s store.Store, from store.FeedPosition, written <-chan []eventName, seen map[eventName]int) error {
	last, trimmed := map[string]int64{}, from.Row
	for left := true; left; {
		names, more := <-written
		left = more
		page, err := s.Feed(ctx, store.FeedQuery{From: from, Limit: 7})
		for ; err == nil; page, err = s.Feed(ctx, store.FeedQuery{From: from, Limit: 7}) {
			for _, e := range page.Entries {
				if e.Event.Number <= last[e.Event.TaskID] {
					return fmt.Errorf("event %d of %s after event %d", e.Event.Number, e.Event.TaskID, last[e.Event.TaskID])
				}
				last[e.Event.TaskID] = e.Event.Number
				seen[eventName{e.Event.TaskID, e.Event.Number}]++
			}
			if from = page.Next; !page.More {
				break
			}
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if seen[name] != 1 {
				return fmt.Errorf("%v was seen %d times", name, seen[name])
			}
		}
		// All rows before this place were read.
		n, err := s.TrimFeed(ctx, time.Now().Add(time.Hour), int(from.Row-trimmed))
		if err != nil {
			return err
		}
		trimmed += int64(n)
	}
	return nil
}

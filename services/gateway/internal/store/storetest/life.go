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

var lifeRules = map[string]func(*testing.T, store.Store){
	"Check/works": func(t *testing.T, s store.Store) {
		require.NoError(t, s.Check(t.Context()))
		require.NoError(t, s.Check(t.Context()))
	},
	"Check/ends with its context": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Check(ctx), context.Canceled)
	},
	"Close/makes calls fail":             closeMakesCallsFail,
	"Concurrency/readers beside writers": readersBesideWriters,
}

func closeMakesCallsFail(t *testing.T, s store.Store) {
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	ctx, id := t.Context(), task.NewID()
	for name, call := range map[string]func() error{
		"Apply":            func() error { _, err := s.Apply(ctx, []task.Event{queued(id)}); return err },
		"Task":             func() error { _, err := s.Task(ctx, id); return err },
		"Tasks":            func() error { _, err := s.Tasks(ctx, []string{id}); return err },
		"List":             func() error { _, err := s.List(ctx, store.Query{Limit: 1}); return err },
		"Feed":             func() error { _, err := s.Feed(ctx, store.FeedQuery{Limit: 1}); return err },
		"FeedEnd":          func() error { _, err := s.FeedEnd(ctx); return err },
		"TrimFeed":         func() error { _, err := s.TrimFeed(ctx, epoch, 1); return err },
		"Body":             func() error { _, err := s.Body(ctx, id, 1); return err },
		"Events":           func() error { _, err := s.Events(ctx, id, 0, 1, true); return err },
		"History":          func() error { _, err := s.History(ctx, id); return err },
		"Start":            func() error { _, err := s.Start(ctx, []task.StartRequest{ask(id, 1)}); return err },
		"ClaimRun":         func() error { _, _, err := s.ClaimRun(ctx, id, 1, task.Copy{1}); return err },
		"PutOverride":      func() error { return s.PutOverride(ctx, store.Override{TaskType: taskType, Version: 1}) },
		"Overrides":        func() error { _, err := s.Overrides(ctx); return err },
		"Schedule":         func() error { _, err := s.Schedule(ctx, []store.Scheduled{scheduled(id, at(1))}); return err },
		"TakeDue":          func() error { _, _, err := s.TakeDue(ctx, at(1), time.Minute, 1, nil); return err },
		"Unschedule":       func() error { return s.Unschedule(ctx, []string{id}) },
		"ScheduledMessage": func() error { _, err := s.ScheduledMessage(ctx, id); return err },
		"Update":           func() error { _, err := s.Update(ctx, 1, updated(id, 1), nil); return err },
		"CountScheduled":   func() error { _, err := s.CountScheduled(ctx, ""); return err },
		"PutSchedule":      func() error { return s.PutSchedule(ctx, spec("nightly", 1, at(1))) },
		"GetSchedule":      func() error { _, err := s.GetSchedule(ctx, "nightly"); return err },
		"ListSchedules":    func() error { _, err := s.ListSchedules(ctx, "", 1); return err },
		"DeleteSchedule":   func() error { return s.DeleteSchedule(ctx, "nightly", 0) },
		"DueSchedules":     func() error { _, _, err := s.DueSchedules(ctx, at(1), 1); return err },
		"Fire":             func() error { _, err := s.Fire(ctx, fireAt("nightly", 1)); return err },
		"PurgeEnded":       func() error { _, err := s.PurgeEnded(ctx, store.Ended{Before: epoch}, 1); return err },
		"PurgeTombstones":  func() error { _, err := s.PurgeTombstones(ctx, epoch, 1); return err },
		"PutBundle":        func() error { return s.PutBundle(ctx, store.BundleRecord{}) },
		"Bundles":          func() error { _, err := s.Bundles(ctx); return err },
		"Check":            func() error { return s.Check(ctx) },
	} {
		require.ErrorIs(t, call(), store.ErrUnavailable, name)
	}
	closeMakesControlsFail(t, s)
}

// readersBesideWriters has writers that each stream messages of a task, all of
// which a reader of each must see once and in order, as they come.
func readersBesideWriters(t *testing.T, s store.Store) {
	const tasks, messages = 4, 50
	g, ctx := errgroup.WithContext(t.Context())
	for range tasks {
		events := stream(task.NewID(), messages, 10)
		events = append(events, succeeded(events[0].TaskID))
		applied := make(chan struct{}, len(events))
		g.Go(func() error {
			for _, e := range events {
				if _, err := s.Apply(ctx, []task.Event{e}); err != nil {
					return err
				}
				applied <- struct{}{}
			}
			return nil
		})
		g.Go(func() error { return follow(ctx, s, events[0].TaskID, int64(len(events)), applied) })
	}
	g.Go(func() error {
		for range 10 {
			if _, err := s.PurgeEnded(ctx, store.Ended{Before: epoch}, 1); err != nil {
				return err
			}
			if _, err := s.Start(ctx, []task.StartRequest{ask(task.NewID(), 1)}); err != nil {
				return err
			}
			if err := s.PutBundle(ctx, bundle("a", 1, []string{"x.v1.A"}, "1")); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, g.Wait())
}

// follow reads a task's events whenever some were applied, until the task has
// ended, with the number given.
func follow(ctx context.Context, s store.Store, id string, end int64, applied <-chan struct{}) error {
	for last := int64(0); last < end; {
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		}
		t, err := s.Task(ctx, id)
		if err != nil {
			return err
		}
		events, err := s.Events(ctx, id, last, store.MaxEvents, true)
		if err != nil {
			return err
		}
		for _, e := range events {
			if last++; e.Number != last {
				return fmt.Errorf("event %d came in the place of %d", e.Number, last)
			}
		}
		if last < t.Version {
			return fmt.Errorf("no events after %d of a task of version %d", last, t.Version)
		}
	}
	return nil
}

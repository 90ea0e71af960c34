package tasktypes

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// refreshRetired takes task types out of the catalogue that were retired since, by any
// gateway. Each retirement counts once: a worker may have brought the type back here,
// and the store not know that yet.
func (t *Types) refreshRetired(ctx context.Context) error {
	stored, err := t.retirements(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(stored, t.isNews) {
		if stored, err = t.takeOut(ctx, stored); err != nil {
			return err
		}
	}
	shown := make(map[string]catalogue.TaskType, len(stored))
	for i := range stored {
		r := &stored[i]
		if known, err := catalogue.RetiredType(r.TaskType, r.Input, r.Output); err != nil {
			t.log.ErrorContext(ctx, "what is kept of a retired task type can't be shown", "task_type", r.TaskType, "error", err)
		} else {
			shown[r.TaskType] = known
		}
	}
	t.catalogue.SetRetired(shown)
	t.retired = t.seen(stored)
	return nil
}

func (t *Types) retirements(ctx context.Context) ([]store.Retirement, error) {
	stored, err := t.store.Retirements(ctx)
	if err != nil {
		return nil, fmt.Errorf("read which task types are retired: %w", err)
	}
	return stored, nil
}

// isNews says whether a retirement is to be followed yet.
func (t *Types) isNews(r store.Retirement) bool { return !t.retired[r.TaskType].Equal(r.Time) }

// takeOut follows retirements. Which they are is read again, because a worker may have
// brought a type back since: until the store has heard of that too it is asked again.
func (t *Types) takeOut(ctx context.Context, stored []store.Retirement) ([]store.Retirement, error) {
	var err error
	follow := func(unsaved map[string]bool) {
		if stored, err = t.retirements(ctx); err != nil {
			return
		}
		followed := t.seen(stored)
		for i := range stored {
			if r := &stored[i]; t.isNews(*r) && !unsaved[r.Method] {
				t.forget(r)
				followed[r.TaskType] = r.Time
			}
		}
		t.retired = followed
	}
	if t.undisturbed == nil {
		follow(nil)
	} else {
		t.undisturbed(follow)
	}
	return stored, err
}

// seen are the times of those retirements that were followed.
func (t *Types) seen(stored []store.Retirement) map[string]time.Time {
	times := make(map[string]time.Time, len(stored))
	for i := range stored {
		if r := &stored[i]; !t.isNews(*r) {
			times[r.TaskType] = r.Time
		}
	}
	return times
}

func (t *Types) forget(r *store.Retirement) {
	if _, found := t.catalogue.Retire(r.TaskType); found {
		t.log.Info("a task type was retired", "task_type", r.TaskType, "reason", r.Reason, "time", r.Time)
	}
	t.rules.Delete(r.TaskType)
}

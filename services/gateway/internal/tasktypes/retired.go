package tasktypes

import (
	"context"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// refreshRetired takes task types out of the catalogue that were retired since, by any
// gateway. Each retirement counts once: a worker may have brought the type back here,
// and the store not know that yet.
func (t *Types) refreshRetired(ctx context.Context) error {
	stored, err := t.store.Retirements(ctx)
	if err != nil {
		return fmt.Errorf("read which task types are retired: %w", err)
	}
	times, shown := make(map[string]time.Time, len(stored)), make(map[string]catalogue.TaskType, len(stored))
	for i := range stored {
		r := &stored[i]
		times[r.TaskType] = r.Time
		if !t.retired[r.TaskType].Equal(r.Time) {
			t.forget(r)
		}
		if known, err := catalogue.RetiredType(r.TaskType, r.Input, r.Output); err != nil {
			t.log.ErrorContext(ctx, "what is kept of a retired task type can't be shown", "type", r.TaskType, "error", err)
		} else {
			shown[r.TaskType] = known
		}
	}
	t.retired = times
	t.catalogue.SetRetired(shown)
	return nil
}

func (t *Types) forget(r *store.Retirement) {
	if _, found := t.catalogue.Retire(r.TaskType); found {
		t.log.Info("a task type was retired", "type", r.TaskType, "reason", r.Reason, "time", r.Time)
	}
	t.rules.Delete(r.TaskType)
}

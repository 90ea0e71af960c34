package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/wake"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Cancel puts cancellations of tasks on record, all or none of them, and has them
// go on by themselves: workers are told, and the tasks end once none can start them
// any more. Answers are in the order of the ids. Errors: as of store.Store's Cancel.
func (c *Control) Cancel(ctx context.Context, taskIDs []string, reason string) ([]store.CancelAnswer, error) {
	now := time.Now()
	requests := make([]store.CancelRequest, len(taskIDs))
	for i, id := range taskIDs {
		requests[i] = store.CancelRequest{TaskID: id, Reason: reason, Time: now}
	}
	answers, err := c.cfg.Store.Cancel(ctx, requests)
	if err != nil {
		return nil, fmt.Errorf("put cancellations on record: %w", err)
	}
	c.mu.Lock()
	for i := range answers {
		if answers[i].Outstanding.Position > 0 {
			c.book.add(&answers[i].Outstanding, false)
		}
	}
	c.mu.Unlock()
	for i := range answers {
		if answers[i].Changed {
			c.cfg.Projection.Cancelled(ctx, &answers[i].Task)
		}
	}
	// They are on record, whatever becomes of the call.
	if err := c.refreshCancellations(ctx); err != nil {
		wake.Signal(c.keepNow)
		c.warn(ctx, "the store does not say now what is cancelled", err)
	}
	return answers, nil
}

// AwaitCancelled waits until the cancellations of these tasks have taken effect,
// whatever the tasks have ended with, or ctx has ended.
func (c *Control) AwaitCancelled(ctx context.Context, taskIDs []string) {
	left := make([]uuid.UUID, 0, len(taskIDs))
	for _, text := range taskIDs {
		if id, err := uuid.Parse(text); err == nil {
			left = append(left, id)
		}
	}
	for {
		c.mu.Lock()
		left = slices.DeleteFunc(left, func(id uuid.UUID) bool {
			e := c.book.latest[id]
			return e == nil || e.settled
		})
		ended := c.ended
		c.mu.Unlock()
		if len(left) == 0 {
			return
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

// Settled says whether the cancellation of a task's run has taken effect, so that no
// handler is started for it any more, and none runs; also if none is known: it has, and
// was forgotten, or nobody has asked for it.
func (c *Control) Settled(taskID string, run int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.book.entry(taskID, run)
	return e == nil || e.settled
}

// Outstanding is the cancellation of a task's latest run that was cancelled; false
// if none is known. It is kept for a while after the task has ended.
func (c *Control) Outstanding(taskID string) (store.Cancellation, bool) {
	id, err := uuid.Parse(taskID)
	if err != nil {
		return store.Cancellation{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.book.latest[id]
	if e == nil {
		return store.Cancellation{}, false
	}
	return e.cancellation(), true
}

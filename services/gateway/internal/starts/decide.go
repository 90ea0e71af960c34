package starts

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// serve answers a batch as far as it can. What was said of the tasks before the
// workers asked must be in the store first.
func (i *Issuer) serve(ctx context.Context, batch []asked) {
	if err := i.cfg.Projection.CatchUpWithin(ctx, maxBehind); err != nil {
		i.leave(ctx, len(batch), err)
		return
	}
	for part := range slices.Chunk(batch, maxDecide) {
		i.decide(ctx, part)
	}
}

// decide has the store decide and tells the workers. If something is wrong with
// the record of one task, the others are found by halving.
func (i *Issuer) decide(ctx context.Context, batch []asked) {
	requests := make([]task.StartRequest, len(batch))
	for n, a := range batch {
		requests[n] = a.request
	}
	answers, err := i.cfg.Store.Start(ctx, requests)
	if err == nil && len(answers) != len(batch) {
		err = fmt.Errorf("the store decided about %d starts of %d", len(answers), len(batch))
	}
	switch {
	case err == nil:
		i.tellAll(ctx, batch, answers)
	case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil || len(batch) == 1:
		i.leave(ctx, len(batch), err)
	default:
		i.decide(ctx, batch[:len(batch)/2])
		i.decide(ctx, batch[len(batch)/2:])
	}
}

// leave gives up requests, whose workers ask again.
func (i *Issuer) leave(ctx context.Context, n int, err error) {
	if ctx.Err() == nil {
		i.undecided.Do(func() {
			i.cfg.Logger.WarnContext(ctx, "starts can't be decided now, workers have to ask again", "starts", n, "error", err)
		})
	}
}

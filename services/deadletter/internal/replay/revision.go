package replay

import (
	"context"
	"fmt"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// revised puts the last payload revision into the message of a full dead letter, so that
// this is what runs and, should it die without a queue, what the message has then.
func (r *Replayer) revised(ctx context.Context, d *store.DeadLetter) error {
	if d.Revision <= 1 {
		return nil
	}
	payload, ok, err := r.cfg.Store.Payload(ctx, d.Sequence, 0)
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read the last payload of dead letter %s: %w", d.ID, err)
	}
	d.Message.Body = payload
	return nil
}

package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// errNoRevision: the dead letter has no payload revision of a number.
var errNoRevision = errors.New("there is none")

// revise puts a payload revision into the message of a dead letter, 0 is the last one: so
// that this is what runs and, should it die without a queue, what the message has then.
func (r *Replayer) revise(ctx context.Context, d *store.DeadLetter, revision int) error {
	if d.Revision <= 1 {
		return nil
	}
	payload, ok, err := r.cfg.Store.Payload(ctx, d.Sequence, revision)
	if err == nil && !ok {
		err = errNoRevision
	}
	if err != nil {
		return fmt.Errorf("read payload revision %d of dead letter %s: %w", revision, d.ID, err)
	}
	d.Message.Body = payload
	return nil
}

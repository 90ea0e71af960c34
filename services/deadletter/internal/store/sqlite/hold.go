package sqlite

import (
	"context"
	"errors"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const updateHeld = `UPDATE dead_letters SET held = ?, version = version + 1, change = ? WHERE sequence = ?`

// unheld is ErrHeld if a hold of its own, or its type's, keeps a dead letter as it is.
func (w *writing) unheld(ctx context.Context, h head) error {
	standing, err := w.rules.standing(ctx, &h)
	if err == nil && (standing.Held || standing.TypeHeld) {
		err = store.ErrHeld
	}
	return err
}

// unheldAt is unheld of the dead letter in a place; of none there is no hold.
func (w *writing) unheldAt(ctx context.Context, sequence int64) error {
	h, err := w.headAt(ctx, sequence)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.unheld(ctx, h)
}

// standing is what decides what can be done with a dead letter.
func (b *rulebook) standing(ctx context.Context, h *head) (store.Standing, error) {
	holds, err := b.of(ctx, h.taskType)
	return store.Standing{State: h.state, Version: h.version, Held: h.held, TypeHeld: holds.Hold()}, err
}

// diedInto is the state of a dead letter by an arrival whose run is above all before.
func (w *writing) diedInto(ctx context.Context, h head, a *store.Arrival) (store.State, error) {
	holds, err := w.rules.of(ctx, a.Type)
	if err == nil && holds.Quarantines(h.replays) {
		return store.StateQuarantined, nil
	}
	return store.StateOpen, err
}

// hold keeps a dead letter as it is, or lets it go: its state has not changed, nor when
// that changed last.
func (w *writing) hold(ctx context.Context, h head, action store.AuditAction, by store.Call) error {
	if err := w.exec(ctx, updateHeld, action == store.ActionHold, w.nextChange(), h.sequence); err != nil {
		return err
	}
	return w.audit(ctx, h.sequence, store.AuditEntry{
		Action: action, From: h.state, To: h.state, Run: h.run, Reason: by.Reason, Actor: by.Actor,
	})
}

package sqlite

import (
	"context"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// What a tombstone keeps says that there was something, and nothing of what it said. 6
// is store.StatePurged.
const updatePurged = `UPDATE dead_letters SET state = 6, version = version + 1, change = ?, reopen_run = ?, purged_run = ?,
	update_time = ?, message = '', stack = '', decision = '', labels = NULL, replay_count = 0, replay_id = '', payload_revision = 1
WHERE sequence = ?`

const deleteDeadLetter = `DELETE FROM dead_letters WHERE sequence = ?`

var (
	// purged are what goes when a dead letter is purged.
	purged = []string{
		deleteLabels, `DELETE FROM messages WHERE dead_letter = ?`, `DELETE FROM occurrences WHERE dead_letter = ?`,
		`DELETE FROM payload_revisions WHERE dead_letter = ?`,
	}
	// forgotten are what goes with its tombstone.
	forgotten = []string{
		`DELETE FROM audit WHERE dead_letter = ?`, `DELETE FROM intents WHERE dead_letter = ?`,
		`DELETE FROM notifications WHERE dead_letter = ?`, deleteDeadLetter,
	}
)

// purge makes a dead letter a tombstone, which knows nothing of its runs any more but
// how far they had come.
func (w *writing) purge(ctx context.Context, h head, e store.AuditEntry) error {
	if err := w.deleteAll(ctx, purged, h.sequence); err != nil {
		return err
	}
	last := int64(max(h.run, h.reopenRun-1))
	if err := w.exec(ctx, updatePurged, w.nextChange(), last+1, last, w.now, h.sequence); err != nil {
		return err
	}
	e.From, e.To, e.Run = h.state, store.StatePurged, h.run
	return w.audit(ctx, h.sequence, e)
}

// forget deletes what is left of a dead letter.
func (w *writing) forget(ctx context.Context, h head) error {
	return w.deleteAll(ctx, forgotten, h.sequence)
}

func (w *writing) deleteAll(ctx context.Context, queries []string, sequence int64) error {
	for _, query := range queries {
		if err := w.exec(ctx, query, sequence); err != nil {
			return err
		}
	}
	return nil
}

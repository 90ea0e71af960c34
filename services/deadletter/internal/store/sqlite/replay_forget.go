package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectOldReplay = `SELECT sequence FROM replays WHERE end_time <= ? ORDER BY sequence LIMIT 1`

	deleteReplayItems = `DELETE FROM replay_items WHERE replay = ? AND position <= ifnull(
	(SELECT position FROM replay_items WHERE replay = ? ORDER BY position LIMIT 1 OFFSET ?), 1 << 62)`

	deleteReplayMembers = `DELETE FROM replay_members WHERE replay = ?`
	deleteReplay        = `DELETE FROM replays WHERE sequence = ?`
)

// forgetReplay forgets a replay that ended before a time, a part of its items with each
// call.
func (w *writing) forgetReplay(ctx context.Context, before int64) error {
	var replay int64
	err := w.tx.QueryRowContext(ctx, selectOldReplay, before).Scan(&replay)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	result, err := w.execute(ctx, deleteReplayItems, replay, replay, int64(store.MaxExpired-1))
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err != nil || n == store.MaxExpired {
		return err
	}
	for _, query := range []string{deleteReplayMembers, deleteReplay} {
		if err := w.exec(ctx, query, replay); err != nil {
			return err
		}
	}
	return nil
}

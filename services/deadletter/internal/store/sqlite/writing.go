package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	selectLastChange = `SELECT last FROM changes WHERE id = 1`
	updateLastChange = `UPDATE changes SET last = ? WHERE id = 1`

	headColumns = `sequence, is_foreign, state, version, run, reopen_run, held, replay_count, id, type, purged_run, update_time`

	selectHead           = `SELECT ` + headColumns + ` FROM dead_letters WHERE id = ?`
	selectHeadBySequence = `SELECT ` + headColumns + ` FROM dead_letters WHERE sequence = ?`

	insertAudit = `INSERT INTO audit (dead_letter, time, action, from_state, to_state, run, reason, actor)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
)

// writing is a transaction that writes. There is one at a time, so the order of
// their changes is that of their commits.
type writing struct {
	tx  *sql.Tx
	now int64
	// began and change are the places of the last change, before the transaction
	// and now.
	began, change int64
	// stopped says why to stop, nil to go on.
	stopped func() error
	// prepared are statements by their queries; the transaction closes them.
	prepared map[string]*sql.Stmt
	// replays are those that the transaction changes, by their places.
	replays map[int64]*replayRow
	rules   *rulebook
	told    telling
}

func (w *writing) begin(ctx context.Context) error {
	err := w.tx.QueryRowContext(ctx, selectLastChange).Scan(&w.began)
	w.change = w.began
	return err
}

func (w *writing) end(ctx context.Context) error {
	if err := w.settle(ctx); err != nil {
		return err
	}
	if w.change == w.began {
		return nil
	}
	return w.exec(ctx, updateLastChange, w.change)
}

func (w *writing) exec(ctx context.Context, query string, args ...any) error {
	_, err := w.execute(ctx, query, args...)
	return err
}

func (w *writing) execute(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := w.prepare(ctx, query); err != nil {
		return nil, err
	}
	return w.prepared[query].ExecContext(ctx, args...)
}

// prepare prepares a query once in the transaction: most of what a statement
// costs in a batch.
func (w *writing) prepare(ctx context.Context, query string) (err error) {
	if w.prepared[query] == nil {
		w.prepared[query], err = w.tx.PrepareContext(ctx, query) //nolint:sqlclosecheck // the transaction closes it when it ends
	}
	return err
}

// nextChange is the place of the next change.
func (w *writing) nextChange() int64 {
	w.change++
	return w.change
}

// head is what decides about changes of a dead letter.
type head struct {
	id             uuid.UUID
	sequence       int64
	foreign        bool
	state          store.State
	version        int64
	run, reopenRun int
	held           bool
	replays        int
	taskType       string
	// purgedRun is the highest that was known when it was purged, -1 for none.
	purgedRun int
	updated   int64
}

// head reads the head of a dead letter. Errors: ErrNotFound.
func (w *writing) head(ctx context.Context, id string) (head, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return head{}, fmt.Errorf("%w: %q is no id", store.ErrNotFound, id)
	}
	if err := w.prepare(ctx, selectHead); err != nil {
		return head{}, err
	}
	h, err := scanHead(w.prepared[selectHead].QueryRowContext(ctx, u[:]))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return h, err
}

// headAt reads the head of a dead letter by its place. Errors: ErrNotFound.
func (w *writing) headAt(ctx context.Context, sequence int64) (head, error) {
	if err := w.prepare(ctx, selectHeadBySequence); err != nil {
		return head{}, err
	}
	h, err := scanHead(w.prepared[selectHeadBySequence].QueryRowContext(ctx, sequence))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return h, err
}

// scanHead reads headColumns.
func scanHead(row scanner) (h head, err error) {
	var id []byte
	err = row.Scan(&h.sequence, &h.foreign, &h.state, &h.version, &h.run, &h.reopenRun, &h.held, &h.replays,
		&id, &h.taskType, &h.purgedRun, &h.updated)
	if err != nil {
		return h, err
	}
	h.id, err = uuid.FromBytes(id)
	return h, err
}

func (w *writing) audit(ctx context.Context, sequence int64, e store.AuditEntry) error {
	return w.exec(ctx, insertAudit, sequence, w.now, string(e.Action), int64(e.From), int64(e.To), int64(e.Run), e.Reason, e.Actor)
}

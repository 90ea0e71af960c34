package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertRevision = `INSERT INTO payload_revisions (dead_letter, revision, time, actor, reason, sha256, diff, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

	updateRevised = `UPDATE dead_letters SET version = version + 1, change = ?, payload_revision = ? WHERE sequence = ?`

	selectBody = `SELECT body FROM messages WHERE dead_letter = ?`

	revisionColumns = `revision, time, actor, reason, sha256, ifnull(length(payload), 0), length(CAST(diff AS BLOB))`

	selectRevisions = `SELECT ` + revisionColumns + ` FROM payload_revisions WHERE dead_letter = ? ORDER BY revision`

	selectRevision = `SELECT ` + revisionColumns + ` FROM payload_revisions WHERE dead_letter = ? AND revision = ?`

	selectLastRevision = `SELECT ifnull(max(revision), 0) FROM payload_revisions WHERE dead_letter = ?`

	// What the sizes in revisionColumns are of.
	selectRevised = `SELECT payload, diff FROM payload_revisions WHERE dead_letter = ? AND revision = ?`
)

// Revise implements [store.Revisions].
func (s *Store) Revise(ctx context.Context, r store.ReviseRequest) (store.DeadLetter, store.Revision, error) {
	var d store.DeadLetter
	var made store.Revision
	err := s.write(ctx, "revise "+r.ID, func(ctx context.Context, w *writing) error {
		h, err := w.revisable(ctx, r.ID, r.Etag)
		if err != nil {
			return err
		}
		last, err := w.lastRevision(ctx, h.sequence)
		if err != nil {
			return err
		}
		if made, err = w.revise(ctx, h, last, r); err != nil {
			return err
		}
		d, err = loadOne(ctx, w.tx, h.id)
		return err
	})
	if err != nil {
		return store.DeadLetter{}, store.Revision{}, err
	}
	return d, made, nil
}

// revisable reads a dead letter whose payload may be revised.
func (w *writing) revisable(ctx context.Context, id, etag string) (head, error) {
	h, err := w.head(ctx, id)
	switch {
	case err != nil:
		return h, err
	case h.foreign:
		return h, store.ErrNotReplayable
	case h.state != store.StateOpen && h.state != store.StateQuarantined:
		return h, w.notOpen(ctx, h)
	case etag != etagOf(h.version):
		return h, fmt.Errorf("%w: its etag is %s", store.ErrEtag, etagOf(h.version))
	}
	return h, w.unheld(ctx, h)
}

// lastRevision is the last payload without its bytes. The original is kept beside its
// successors from the first of them on, as the task's next death replaces the message.
func (w *writing) lastRevision(ctx context.Context, sequence int64) (store.Revision, error) {
	var number int
	if err := w.tx.QueryRowContext(ctx, selectLastRevision, sequence).Scan(&number); err != nil {
		return store.Revision{}, err
	}
	if number > 0 {
		last, _, err := scanRevision(w.tx.QueryRowContext(ctx, selectRevision, sequence, int64(number)))
		return last, err
	}
	var body []byte
	if err := w.tx.QueryRowContext(ctx, selectBody, sequence).Scan(&body); err != nil {
		return store.Revision{}, err
	}
	digest := sha256.Sum256(body)
	original := store.Revision{Number: 1, SHA256: digest[:]}
	return original, w.exec(ctx, insertRevision, sequence, int64(1), nil, "", "", digest[:], "", blob(body))
}

// revise stores the revision that follows the last one.
func (w *writing) revise(ctx context.Context, h head, last store.Revision, r store.ReviseRequest) (store.Revision, error) {
	if last.Number >= store.MaxRevisions {
		return store.Revision{}, store.ErrRevisions
	}
	made := store.NewRevision(last.Number+1, r.Payload, r.Diff, r.By)
	made.Time = time.UnixMicro(w.now).UTC()
	err := w.exec(ctx, insertRevision, h.sequence, int64(made.Number), w.now, made.Actor, made.Reason, made.SHA256, made.Diff, blob(made.Payload))
	if err != nil {
		return made, err
	}
	if err := w.exec(ctx, updateRevised, w.nextChange(), int64(made.Number), h.sequence); err != nil {
		return made, err
	}
	if err := w.audit(ctx, h.sequence, store.AuditEntry{
		Action: store.ActionRevise, From: h.state, To: h.state, Run: h.run, Reason: r.By.Reason, Actor: r.By.Actor,
	}); err != nil {
		return made, err
	}
	return made, w.record(ctx, r.By, store.ResourceDeadLetter+h.id.String(),
		store.AuditChange{Field: "payload_revision", Before: strconv.Itoa(last.Number), After: strconv.Itoa(made.Number)},
		store.AuditChange{Field: "payload_sha256", Before: hex.EncodeToString(last.SHA256), After: hex.EncodeToString(made.SHA256)})
}

// scanRevision reads revisionColumns, and returns the size of what they leave out.
func scanRevision(row scanner) (store.Revision, int, error) {
	var r store.Revision
	var at sql.Null[int64]
	var diff int
	err := row.Scan(&r.Number, &at, &r.Actor, &r.Reason, &r.SHA256, &r.Size, &diff)
	r.Time = fromMicros(at)
	return r, int(r.Size) + diff, err
}

// fillRevisions adds the revisions of a dead letter that has some: payloads and diffs of
// the last ones, as much as the contract says. It returns the size of those.
func fillRevisions(ctx context.Context, tx *sql.Tx, d *store.DeadLetter) (int, error) {
	if d.Revision <= 1 {
		return 0, nil
	}
	var sizes []int
	var err error
	d.Revisions, err = collect(ctx, tx, func(row scanner) (store.Revision, error) {
		r, size, err := scanRevision(row)
		sizes = append(sizes, size)
		return r, err
	}, selectRevisions, d.Sequence)
	if err != nil {
		return 0, err
	}
	total, full := 0, false
	for i := len(d.Revisions) - 1; i >= 0; i-- {
		r := &d.Revisions[i]
		if full = full || i < len(d.Revisions)-1 && total+sizes[i] > store.MaxRevisionBytes; full {
			r.Omitted = true
			continue
		}
		total += sizes[i]
		if err := tx.QueryRowContext(ctx, selectRevised, d.Sequence, int64(r.Number)).Scan(&r.Payload, &r.Diff); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// Payload implements [store.Revisions].
func (s *Store) Payload(ctx context.Context, sequence int64, revision int) ([]byte, bool, error) {
	r, ok, err := s.Revision(ctx, sequence, revision)
	return r.Payload, ok, err
}

// Revision implements [store.Revisions].
func (s *Store) Revision(ctx context.Context, sequence int64, revision int) (store.Revision, bool, error) {
	var r store.Revision
	ok := false
	err := s.read(ctx, "read a payload", func(tx *sql.Tx) error {
		last := 0
		err := tx.QueryRowContext(ctx, selectLastRevision, sequence).Scan(&last)
		switch {
		case err != nil:
			return err
		case last == 0 && (revision == 0 || revision == 1):
			r.Number = 1
			err = tx.QueryRowContext(ctx, selectBody, sequence).Scan(&r.Payload)
			r.Size = int64(len(r.Payload))
		default:
			r, err = revisionOf(ctx, tx, sequence, revision, last)
		}
		ok = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if !ok {
		return store.Revision{}, false, err
	}
	return r, true, nil
}

// revisionOf reads a revision, 0 for the last one. Errors: [sql.ErrNoRows].
func revisionOf(ctx context.Context, tx *sql.Tx, sequence int64, revision, last int) (store.Revision, error) {
	if revision == 0 {
		revision = last
	}
	r, _, err := scanRevision(tx.QueryRowContext(ctx, selectRevision, sequence, int64(revision)))
	if err != nil {
		return r, err
	}
	return r, tx.QueryRowContext(ctx, selectRevised, sequence, int64(revision)).Scan(&r.Payload, &r.Diff)
}

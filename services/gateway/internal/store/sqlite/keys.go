package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	selectKey = `SELECT digest, task_id, submitted, owner, lease_end, again, window_end FROM idempotency_keys WHERE type = ? AND key = ?`

	upsertKey = `INSERT INTO idempotency_keys (type, key, digest, task_id, submitted, owner, lease_end, again, window_end)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (type, key) DO UPDATE SET digest = excluded.digest, task_id = excluded.task_id, submitted = excluded.submitted,
	owner = excluded.owner, lease_end = excluded.lease_end, again = excluded.again, window_end = excluded.window_end`

	ofOwner = ` WHERE type = ? AND key = ? AND owner = ? AND submitted = 0`

	renewKey = `UPDATE idempotency_keys SET lease_end = max(lease_end, ?)` + ofOwner

	settleKey = `UPDATE idempotency_keys SET submitted = 1` + ofOwner

	// What an earlier owner may have submitted stays so; what nobody can have is
	// nobody's.
	giveBackKey   = `UPDATE idempotency_keys SET owner = '', lease_end = 0` + ofOwner + ` AND again = 1`
	deleteOwnKey  = `DELETE FROM idempotency_keys` + ofOwner
	deleteOldKeys = `DELETE FROM idempotency_keys WHERE (type, key) IN (
	SELECT type, key FROM idempotency_keys
	WHERE window_end <= ? AND (submitted = 1 OR lease_end <= ?) ORDER BY window_end LIMIT ?)`
)

// key is the row of an idempotency key.
type key struct {
	digest    [32]byte
	taskID    uuid.UUID
	submitted bool
	owner     string
	leaseEnd  int64
	again     bool
	windowEnd int64
}

// ClaimKeys implements [store.Store].
func (s *Store) ClaimKeys(ctx context.Context, now time.Time, claims []store.KeyClaim) ([]store.KeyAnswer, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(claims) == 0 {
		return nil, nil
	}
	answers := make([]store.KeyAnswer, len(claims))
	err := s.writeWith(ctx, []string{selectKey, upsertKey}, func(stmts []*sql.Stmt) error {
		for i, c := range claims {
			var err error
			if answers[i], err = claimKey(ctx, stmts[0], stmts[1], now.UnixMicro(), c); err != nil {
				return fmt.Errorf("key %q of %s: %w", c.Key, c.Type, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, translate(ctx, "claim idempotency keys", err)
	}
	return answers, nil
}

func claimKey(ctx context.Context, get, put *sql.Stmt, now int64, c store.KeyClaim) (store.KeyAnswer, error) {
	k, found, err := scanKey(get.QueryRowContext(ctx, c.Type, c.Key))
	if err != nil {
		return store.KeyAnswer{}, err
	}
	held := found && !k.submitted && k.leaseEnd > now
	switch {
	case !found || k.windowEnd <= now && !held:
		id, err := uuid.Parse(c.TaskID)
		if err != nil {
			return store.KeyAnswer{}, err
		}
		k = key{digest: c.Digest, taskID: id, windowEnd: c.WindowEnd.UnixMicro()}
	case k.digest != c.Digest:
		return store.KeyAnswer{Outcome: store.KeyConflict, TaskID: k.taskID.String()}, nil
	case k.submitted:
		return store.KeyAnswer{Outcome: store.KeyDone, TaskID: k.taskID.String()}, nil
	case !held:
		k.again = true
	case k.owner != c.Owner:
		return store.KeyAnswer{Outcome: store.KeyBusy, TaskID: k.taskID.String(), Until: time.UnixMicro(k.leaseEnd).UTC()}, nil
	}
	k.owner, k.leaseEnd = c.Owner, max(k.leaseEnd, c.Until.UnixMicro())
	_, err = put.ExecContext(ctx, c.Type, c.Key, k.digest[:], k.taskID[:], k.submitted, k.owner, k.leaseEnd, k.again, k.windowEnd)
	if err != nil {
		return store.KeyAnswer{}, err
	}
	return store.KeyAnswer{Outcome: store.KeyMine, TaskID: k.taskID.String(), Again: k.again, Until: time.UnixMicro(k.leaseEnd).UTC()}, nil
}

// scanKey reads the row that selectKey selects; false for none.
func scanKey(row *sql.Row) (key, bool, error) {
	var k key
	var digest, id []byte
	err := row.Scan(&digest, &id, &k.submitted, &k.owner, &k.leaseEnd, &k.again, &k.windowEnd)
	if errors.Is(err, sql.ErrNoRows) {
		return key{}, false, nil
	}
	if err != nil {
		return key{}, false, err
	}
	if len(digest) != len(k.digest) || len(id) != len(k.taskID) {
		return key{}, false, fmt.Errorf("its digest and id have %d and %d bytes", len(digest), len(id))
	}
	k.digest, k.taskID = [32]byte(digest), uuid.UUID(id)
	return k, true, nil
}

// RenewKeys implements [store.Store].
func (s *Store) RenewKeys(ctx context.Context, keys []store.KeyRef, until time.Time) ([]bool, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(keys) == 0 {
		return nil, nil
	}
	held := make([]bool, len(keys))
	err := s.writeWith(ctx, []string{renewKey}, func(stmts []*sql.Stmt) error {
		for i, k := range keys {
			result, err := stmts[0].ExecContext(ctx, until.UnixMicro(), k.Type, k.Key, k.Owner)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			held[i] = n > 0
		}
		return nil
	})
	if err != nil {
		return nil, translate(ctx, "renew idempotency keys", err)
	}
	return held, nil
}

// SettleKeys implements [store.Store].
func (s *Store) SettleKeys(ctx context.Context, keys []store.KeyRef, submitted bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if len(keys) == 0 {
		return nil
	}
	queries := []string{settleKey}
	if !submitted {
		// What the first has given back is not the owner's for the second.
		queries = []string{giveBackKey, deleteOwnKey}
	}
	err := s.writeWith(ctx, queries, func(stmts []*sql.Stmt) error {
		for _, k := range keys {
			for _, stmt := range stmts {
				if _, err := stmt.ExecContext(ctx, k.Type, k.Key, k.Owner); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return translate(ctx, "settle idempotency keys", err)
}

// PurgeKeys implements [store.Store].
func (s *Store) PurgeKeys(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	var n int64
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, deleteOldKeys, now.UnixMicro(), now.UnixMicro(), bounded(limit))
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return 0, translate(ctx, "purge idempotency keys", err)
	}
	return int(n), nil
}

// writeWith runs f in a transaction, with statements for it.
func (s *Store) writeWith(ctx context.Context, queries []string, f func([]*sql.Stmt) error) error {
	return s.db.Write(ctx, func(tx *sql.Tx) error {
		stmts := make([]*sql.Stmt, len(queries))
		for i, query := range queries {
			stmt, err := tx.PrepareContext(ctx, query)
			if err != nil {
				return err
			}
			defer func() { _ = stmt.Close() }()
			stmts[i] = stmt
		}
		return f(stmts)
	})
}

package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	upsertBundle = `INSERT INTO bundles (digest, time) VALUES (?, ?)
ON CONFLICT (digest) DO UPDATE SET time = max(time, excluded.time)`

	insertService = `INSERT INTO bundle_services (digest, service) VALUES (?, ?)
ON CONFLICT (digest, service) DO NOTHING`

	// The times are those in the table: each bundle's latest.
	upsertDefinition = `INSERT INTO definitions (name, digest) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET digest = excluded.digest
WHERE ((SELECT time FROM bundles WHERE digest = excluded.digest), excluded.digest)
	> ((SELECT time FROM bundles WHERE digest = definitions.digest), definitions.digest)`

	insertFile       = `INSERT INTO files (sha256, content) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING`
	insertBundleFile = `INSERT INTO bundle_files (digest, position, sha256) VALUES (?, ?, ?)
ON CONFLICT (digest, position) DO NOTHING`

	deleteBundles = `DELETE FROM bundles WHERE digest NOT IN (SELECT digest FROM definitions)`
	deleteFiles   = `DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM bundle_files)`

	selectBundles     = `SELECT digest, time FROM bundles ORDER BY time, digest`
	selectServices    = `SELECT service FROM bundle_services WHERE digest = ? ORDER BY service`
	selectDefinitions = `SELECT name FROM definitions WHERE digest = ? ORDER BY name`
	selectFiles       = `SELECT f.content FROM bundle_files b JOIN files f ON f.sha256 = b.sha256
WHERE b.digest = ? ORDER BY b.position`
)

// PutBundle implements [store.Store].
func (s *Store) PutBundle(ctx context.Context, b store.BundleRecord) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error { return putBundle(ctx, tx, b) })
	return translate(ctx, "put bundle "+b.Digest, err)
}

func putBundle(ctx context.Context, tx *sql.Tx, b store.BundleRecord) error {
	if _, err := tx.ExecContext(ctx, upsertBundle, b.Digest, b.Time.UnixMicro()); err != nil {
		return err
	}
	for i, file := range b.Files {
		hash := sha256.Sum256(file)
		if _, err := tx.ExecContext(ctx, insertFile, hash[:], orEmpty(file)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insertBundleFile, b.Digest, i, hash[:]); err != nil {
			return err
		}
	}
	for _, service := range b.Services {
		if _, err := tx.ExecContext(ctx, insertService, b.Digest, service); err != nil {
			return err
		}
	}
	for _, name := range b.Defines {
		if _, err := tx.ExecContext(ctx, upsertDefinition, name, b.Digest); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, deleteRetirement, name); err != nil {
			return err
		}
	}
	for _, query := range []string{deleteBundles, deleteFiles} {
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// Bundles implements [store.Store].
func (s *Store) Bundles(ctx context.Context) ([]store.BundleRecord, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	bundles, err := s.bundles(ctx)
	if err != nil {
		return nil, translate(ctx, "read bundles", err)
	}
	return bundles, nil
}

func (s *Store) bundles(ctx context.Context) ([]store.BundleRecord, error) {
	tx, err := s.db.Reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	bundles, err := collect(ctx, tx, scanBundle, selectBundles)
	if err != nil {
		return nil, err
	}
	for i := range bundles {
		b := &bundles[i]
		if b.Services, err = collect(ctx, tx, scanOne[string], selectServices, b.Digest); err != nil {
			return nil, err
		}
		if b.Defines, err = collect(ctx, tx, scanOne[string], selectDefinitions, b.Digest); err != nil {
			return nil, err
		}
		if b.Files, err = collect(ctx, tx, scanFile, selectFiles, b.Digest); err != nil {
			return nil, err
		}
	}
	return bundles, nil
}

func collect[T any](ctx context.Context, tx *sql.Tx, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func scanOne[T any](rows *sql.Rows) (v T, err error) {
	err = rows.Scan(&v)
	return v, err
}

func scanFile(rows *sql.Rows) ([]byte, error) {
	var content []byte
	err := rows.Scan(&content)
	return orEmpty(content), err
}

func scanBundle(rows *sql.Rows) (store.BundleRecord, error) {
	var b store.BundleRecord
	var at int64
	err := rows.Scan(&b.Digest, &at)
	b.Time = time.UnixMicro(at).UTC()
	return b, err
}

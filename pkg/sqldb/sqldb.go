package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/semaphore"
)

// DB is an open database.
type DB struct {
	// Writer is for statements that write. SQLite has one writer at a time, so
	// it is one connection there, whose transactions take the write lock when
	// they begin: use [DB.Write].
	Writer *sql.DB
	// Reader is for statements that only read; others fail. Its connections see
	// what was committed when their statement or transaction began, and never
	// wait for the writer.
	Reader *sql.DB

	connector *countingConnector

	// turn lets writers in by the order of their coming; the pool of database/sql
	// picks one of those that wait at random.
	turn *semaphore.Weighted
}

// Open opens the database that a URL names and applies those of the given
// migrations, goose's SQL files, that it does not have yet. Migrations that it
// has beyond these are left alone, since an older program may run beside a
// newer one. Errors: ErrURL, or what keeps the database from being opened; ask
// IsUnavailable whether that may pass by itself.
func Open(ctx context.Context, url string, migrations fs.FS) (*DB, error) {
	file, err := sqliteFile(url)
	if err != nil {
		return nil, err
	}
	db, err := openSQLite(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("open SQLite database %s: %w", file, err)
	}
	if err := migrate(ctx, db.Writer, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate SQLite database %s: %w", file, err), db.Close())
	}
	return db, nil
}

// Close closes all connections, after the statements under way.
func (db *DB) Close() error {
	// The writer goes last: it is then the only connection, and the last one to
	// close moves the write-ahead log into the database.
	return errors.Join(db.Reader.Close(), db.Writer.Close())
}

// Session numbers the writer's connection, which is another one after a
// statement was interrupted, say. What SQLite keeps for each connection, such as
// PRAGMA data_version, holds within a session. It is for functions that
// [DB.Write] runs: the connection is the same until they return.
func (db *DB) Session() int64 { return db.connector.made.Load() }

// Write runs f in a transaction of the writer, which it commits when f returns
// nil, and else rolls back. Calls take turns. The transaction is rolled back as well when the
// context ends before the commit; statements in f may therefore be given
// another context, or none, if f looks at the context between them.
func (db *DB) Write(ctx context.Context, f func(*sql.Tx) error) error {
	if err := db.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer db.turn.Release(1)
	tx, err := db.Writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	// After a commit this does nothing; else it is what an error, or a panic,
	// needs.
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"modernc.org/sqlite" // also the driver "sqlite"
)

const (
	// busyTimeout bounds how long a statement waits for a lock that another
	// process holds: long enough for its transaction, short enough to be
	// reported in time.
	busyTimeout = 2 * time.Second
	readers     = 4
	// checkpointPages of 4 KiB gather in the write-ahead log before they are
	// moved into the database. SQLite's own 1,000 would have nearly every batch
	// of the projection pay for that, twice the syncs.
	checkpointPages = 8000
	// journalLimit is what is left of the log, in bytes, after a peak.
	journalLimit = 64 << 20
)

func openSQLite(ctx context.Context, file string) (*DB, error) {
	if err := makeFile(file); err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(dataSource(file, url.Values{
		"_txlock":       {"immediate"},
		"_journal_mode": {"WAL"},
		// Who commits here acknowledges something elsewhere: it must be on disk.
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
		"_pragma": {
			"wal_autocheckpoint=" + strconv.Itoa(checkpointPages),
			"journal_size_limit=" + strconv.Itoa(journalLimit),
			// SQLite passes over all of its cache at nearly every commit.
			"cache_size=-16384",
		},
	}))
	if err != nil {
		return nil, err
	}
	counted := &countingConnector{Connector: connector}
	writer := sql.OpenDB(counted)
	writer.SetMaxOpenConns(1)
	if err := probe(ctx, writer); err != nil {
		return nil, errors.Join(explain(err, file), writer.Close())
	}
	reader, err := sql.Open("sqlite", dataSource(file, url.Values{"_query_only": {"on"}}))
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	return &DB{Writer: writer, Reader: reader, connector: counted, turn: semaphore.NewWeighted(1)}, nil
}

// countingConnector counts the connections that it makes.
type countingConnector struct {
	driver.Connector
	made atomic.Int64
}

// Connect implements [driver.Connector].
func (c *countingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c.made.Add(1)
	return c.Connector.Connect(ctx)
}

func dataSource(file string, settings url.Values) string {
	settings.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	settings.Set("_defensive", "true")
	settings.Set("_dqs", "false")
	settings.Set("_error_rc", "true")
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(file), RawQuery: settings.Encode()}).String()
}

// makeFile makes the database's file, for its owner alone since payloads are
// in it; SQLite gives the files beside it the same rights. A file that is there
// is not touched: closing it would drop the locks that this process may have on
// it (https://www.sqlite.org/howtocorrupt.html, 2.2).
func makeFile(file string) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("folder %s cannot be written: %w", dir, err)
	}
	return f.Close()
}

// probe takes the write lock once, because SQLite opens a file that it may not
// write as a read-only one, and says so only then.
func probe(ctx context.Context, writer *sql.DB) error {
	tx, err := writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	return tx.Rollback()
}

// explain says what in the file system to look at.
func explain(err error, file string) error {
	switch codeOf(err) {
	case codeReadOnly, codeCannotOpen, codePermission:
		return fmt.Errorf("it and its folder %s must be files that can be written: %w", filepath.Dir(file), err)
	case codeNotADatabase:
		return fmt.Errorf("the file is something else: %w", err)
	}
	return err
}

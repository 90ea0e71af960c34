package sqldb

import (
	"database/sql"
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	codeReadOnly     = sqlite3.SQLITE_READONLY
	codeCannotOpen   = sqlite3.SQLITE_CANTOPEN
	codePermission   = sqlite3.SQLITE_PERM
	codeNotADatabase = sqlite3.SQLITE_NOTADB
)

// codeOf returns SQLite's primary result code, 0 for an error of someone else.
// The upper bits say more, and are of no use here
// (https://www.sqlite.org/rescode.html).
func codeOf(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// IsUnavailable says whether an error comes from a database that can't work
// now, but could later with nothing changed in what it was asked: locked, full,
// read-only, not readable, out of memory, its connection closed.
func IsUnavailable(err error) bool {
	switch codeOf(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL,
		sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return true
	}
	return errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn)
}

// IsBadData says whether an error comes from values that the database will
// never take: against a constraint, of the wrong type, too big, out of range.
func IsBadData(err error) bool {
	switch codeOf(err) {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}

package sqldb_test

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/sqldb"
)

const (
	first  = "-- +goose Up\nCREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;\n"
	second = "-- +goose Up\nALTER TABLE notes ADD COLUMN author TEXT;\n"
)

// migrations are the given files in their order.
func migrations(files ...string) fs.FS {
	m := fstest.MapFS{}
	for i, f := range files {
		m["0000"+string('1'+rune(i))+"_notes.sql"] = &fstest.MapFile{Data: []byte(f)}
	}
	return m
}

func open(t *testing.T, path string, files ...string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), "sqlite:"+path, migrations(files...))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestOpenRefusesURL(t *testing.T) {
	t.Parallel()
	for url, reason := range map[string]string{
		"":                            "no scheme",
		"store.db":                    "no scheme",
		"sqlite:":                     "no file",
		"sqlite::memory:":             "plain file",
		"sqlite:store.db?mode=memory": "plain file",
		"sqlite://host/store.db":      "no host",
		"mysql:store":                 "unknown",
		"postgres://u:secret@host/db": "comes with a later version",
	} {
		_, err := sqldb.Open(t.Context(), url, migrations(first))
		require.ErrorIs(t, err, sqldb.ErrURL, url)
		require.ErrorContains(t, err, reason)
		require.NotContains(t, err.Error(), "secret")
		require.False(t, sqldb.IsUnavailable(err))
	}
}

func TestOpenMakesFileAndFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b", "100% #1", "store.db")
	open(t, path, first)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
}

func TestOpenSaysWhatIsWrongWithThePlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("not a database", 100)), 0o600))

	_, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(text, "store.db"), migrations(first))
	require.ErrorContains(t, err, "make its folder")
	_, err = sqldb.Open(t.Context(), "sqlite:"+dir, migrations(first))
	require.ErrorContains(t, err, "must be files that can be written")
	_, err = sqldb.Open(t.Context(), "sqlite:"+text, migrations(first))
	require.ErrorContains(t, err, "something else")
	require.False(t, sqldb.IsUnavailable(err))
}

func TestOpenOfAReadOnlyPlace(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	t.Cleanup(func() { require.NoError(t, os.Chmod(dir, 0o700)) })
	_, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(dir, "store.db"), migrations(first))
	require.ErrorContains(t, err, "cannot be written")
	require.ErrorIs(t, err, fs.ErrPermission)
}

func TestOpenMigrates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	old := open(t, path, first)
	_, err := old.Writer.ExecContext(t.Context(), "INSERT INTO notes (text) VALUES ('kept')")
	require.NoError(t, err)

	latest := open(t, path, first, second)
	var text string
	require.NoError(t, latest.Reader.QueryRowContext(t.Context(), "SELECT text FROM notes WHERE author IS NULL").Scan(&text))
	require.Equal(t, "kept", text)

	// The older program goes on, and may start again.
	again := open(t, path, first)
	for _, db := range []*sqldb.DB{old, again} {
		_, err = db.Writer.ExecContext(t.Context(), "INSERT INTO notes (text) VALUES (NULL || 'x')")
		require.True(t, sqldb.IsBadData(err), err)
		require.NoError(t, db.Reader.QueryRowContext(t.Context(), "SELECT text FROM notes").Scan(&text))
	}
	_, err = sqldb.Open(t.Context(), "sqlite:"+path, migrations(first, second, "-- +goose Up\nCREATE TABLE notes (id TEXT);\n"))
	require.ErrorContains(t, err, "migrate")
}

func TestOpenAtTheSameTime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			db, err := sqldb.Open(t.Context(), "sqlite:"+path, migrations(first, second))
			if err != nil {
				return err
			}
			return db.Close()
		})
	}
	require.NoError(t, g.Wait())
}

func TestSettings(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "store.db"), first)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "2000", "query_only": "0",
	} {
		var got string
		require.NoError(t, db.Writer.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		require.Equal(t, want, got, pragma)
	}
	_, err := db.Reader.ExecContext(t.Context(), "INSERT INTO notes (text) VALUES ('x')")
	require.Error(t, err)
}

func TestWrite(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "store.db"), first)
	insert := func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO notes (text) VALUES ('x')")
		return err
	}
	count := func() (n int) {
		require.NoError(t, db.Reader.QueryRowContext(t.Context(), "SELECT count(*) FROM notes").Scan(&n))
		return n
	}
	failure := errors.New("failed")
	require.ErrorIs(t, db.Write(t.Context(), func(tx *sql.Tx) error { return errors.Join(insert(tx), failure) }), failure)
	require.Panics(t, func() {
		_ = db.Write(t.Context(), func(tx *sql.Tx) error {
			require.NoError(t, insert(tx))
			panic("failed")
		})
	})
	require.Zero(t, count())
	require.NoError(t, db.Write(t.Context(), insert))
	require.Equal(t, 1, count())
}

func TestErrors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	db, other := open(t, path, first), open(t, path, first)
	exec := func(query string, args ...any) error {
		_, err := db.Writer.ExecContext(t.Context(), query, args...)
		return err
	}
	require.NoError(t, exec("INSERT INTO notes (id, text) VALUES (1, 'x')"))
	for name, err := range map[string]error{
		"unique":  exec("INSERT INTO notes (text) VALUES ('x')"),
		"null":    exec("INSERT INTO notes (text) VALUES (?)", nil),
		"type":    exec("INSERT INTO notes (text) VALUES (?)", []byte{1}),
		"rowid":   exec("INSERT INTO notes (id, text) VALUES ('y', 'y')"),
		"too big": exec("INSERT INTO notes (text) VALUES (CAST(zeroblob(2000000000) AS TEXT))"),
	} {
		require.True(t, sqldb.IsBadData(err), "%s: %v", name, err)
		require.False(t, sqldb.IsUnavailable(err), name)
	}

	require.NoError(t, exec("PRAGMA max_page_count = 5"))
	full := exec("INSERT INTO notes (text) VALUES (hex(zeroblob(1000000)))")
	tx, err := other.Writer.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	locked := exec("INSERT INTO notes (text) VALUES ('z')")
	require.NoError(t, tx.Rollback())
	for name, err := range map[string]error{"full": full, "locked": locked} {
		require.True(t, sqldb.IsUnavailable(err), "%s: %v", name, err)
		require.False(t, sqldb.IsBadData(err), name)
	}

	for _, err := range []error{nil, sql.ErrNoRows, exec("SELECT nonsense")} {
		require.False(t, sqldb.IsUnavailable(err))
		require.False(t, sqldb.IsBadData(err))
	}
	require.True(t, sqldb.IsUnavailable(sql.ErrConnDone))
}

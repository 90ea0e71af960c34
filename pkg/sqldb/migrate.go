package sqldb

import (
	"context"
	"database/sql"
	"io/fs"

	"github.com/pressly/goose/v3"
)

func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, db, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	for done := int64(-1); ; {
		_, err := p.Up(ctx)
		if err == nil {
			return nil
		}
		// Each migration is a transaction, so one that another process was faster
		// with fails and leaves nothing behind; the next try finds it done.
		version, versionErr := p.GetDBVersion(ctx)
		if versionErr != nil || version <= done {
			return err
		}
		done = version
	}
}

package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// 1 is store.StateOpen.
const countOpen = `SELECT iif(is_foreign, '', type) AS task_type, cause, count(*), min(dead_time)
FROM dead_letters INDEXED BY dead_letters_open WHERE state = 1 GROUP BY task_type, cause ORDER BY task_type, cause`

// CountOpen implements [store.Store].
func (s *Store) CountOpen(ctx context.Context) ([]store.OpenCount, error) {
	var counts []store.OpenCount
	err := s.read(ctx, "count open dead letters", func(tx *sql.Tx) (err error) {
		counts, err = collect(ctx, tx, scanOpenCount, countOpen)
		return err
	})
	return counts, err
}

func scanOpenCount(row scanner) (store.OpenCount, error) {
	var c store.OpenCount
	var oldest int64
	err := row.Scan(&c.Type, &c.Cause, &c.Count, &oldest)
	c.Oldest = time.UnixMicro(oldest).UTC()
	return c, err
}

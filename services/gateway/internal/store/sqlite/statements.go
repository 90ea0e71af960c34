package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/warrenmq/warren/pkg/sqldb"
)

// statements are prepared once; preparing costs more than executing.
// Placeholders are plain question marks, which SQLite binds faster than
// numbered ones.
type statements struct {
	// On the writer.
	loadTasks, loadTombstones, saveTask, saveState, saveTrace *sql.Stmt
	saveRareTask, insertFeed, knownKey, dataVersion, newestID *sql.Stmt
	insertTasks, insertEvents, insertBodies                   tableStmts
	loadHistory, loadClaims, saveClaim                        *sql.Stmt
	nextType, oldestEnded                                     *sql.Stmt
	saveTombstone, deleteTask, deleteEvents, deleteBodies     *sql.Stmt
	deleteClaims, loosenClaims, deleteScheduled               *sql.Stmt
	unseen, markSeen                                          *sql.Stmt
	// On the reader.
	task, tasks, exists, body, event, events, eventsWithBodies, history, readCheck *sql.Stmt
	feedBounds, feedRows                                                           *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, db *sqldb.DB) error {
	for _, p := range []struct {
		stmt  **sql.Stmt
		db    *sql.DB
		query string
	}{
		{&s.loadTasks, db.Writer, selectTasks},
		{&s.loadTombstones, db.Writer, selectTombstones},
		{&s.saveTask, db.Writer, updateTask},
		{&s.saveState, db.Writer, updateState},
		{&s.knownKey, db.Writer, selectKnownKey},
		{&s.newestID, db.Writer, selectNewestID},
		{&s.dataVersion, db.Writer, selectDataVersion},
		{&s.insertFeed, db.Writer, insertFeed},
		{&s.saveTrace, db.Writer, updateTrace},
		{&s.saveRareTask, db.Writer, updateRareTask},
		{&s.deleteScheduled, db.Writer, deleteScheduled},
		{&s.loadHistory, db.Writer, selectHistory},
		{&s.loadClaims, db.Writer, selectClaims},
		{&s.saveClaim, db.Writer, upsertClaim},
		{&s.nextType, db.Writer, selectNextType},
		{&s.oldestEnded, db.Writer, selectOldestEnded},
		{&s.saveTombstone, db.Writer, upsertTombstone},
		{&s.deleteTask, db.Writer, deleteTask},
		{&s.deleteEvents, db.Writer, deleteEvents},
		{&s.deleteBodies, db.Writer, deleteBodies},
		{&s.deleteClaims, db.Writer, deleteClaims},
		{&s.loosenClaims, db.Writer, loosenClaims},
		{&s.unseen, db.Writer, selectUnseen},
		{&s.markSeen, db.Writer, markSeen},
		{&s.task, db.Reader, selectTask},
		{&s.tasks, db.Reader, selectNamed},
		{&s.exists, db.Reader, selectExists},
		{&s.body, db.Reader, selectBody},
		{&s.event, db.Reader, selectEvent},
		{&s.events, db.Reader, selectEvents},
		{&s.eventsWithBodies, db.Reader, selectEventsWithBodies},
		{&s.history, db.Reader, selectHistory},
		{&s.feedBounds, db.Reader, selectFeedBounds},
		{&s.feedRows, db.Reader, selectFeed},
		{&s.readCheck, db.Reader, readCheck},
	} {
		var err error
		if *p.stmt, err = p.db.PrepareContext(ctx, p.query); err != nil { //nolint:sqlclosecheck // close does, when the store is closed
			return errors.Join(err, s.close())
		}
	}
	for t, stmts := range map[*table]*tableStmts{taskTable: &s.insertTasks, eventTable: &s.insertEvents, bodyTable: &s.insertBodies} {
		stmts.table = t
		if err := stmts.prepare(ctx, db.Writer); err != nil {
			return errors.Join(err, s.close())
		}
	}
	return nil
}

func (s *statements) close() error {
	stmts := []*sql.Stmt{
		s.loadTasks, s.loadTombstones, s.saveTask, s.saveState, s.saveTrace, s.saveRareTask,
		s.insertFeed, s.knownKey, s.dataVersion, s.newestID, s.deleteScheduled,
		s.loadHistory, s.loadClaims, s.saveClaim, s.nextType, s.oldestEnded,
		s.saveTombstone, s.deleteTask, s.deleteEvents, s.deleteBodies, s.deleteClaims, s.loosenClaims, s.unseen, s.markSeen,
		s.task, s.tasks, s.exists, s.body, s.event, s.events, s.eventsWithBodies, s.history, s.feedBounds, s.feedRows, s.readCheck,
	}
	for _, t := range []tableStmts{s.insertTasks, s.insertEvents, s.insertBodies} {
		stmts = slices.Concat(stmts, t.one, t.many)
	}
	var errs []error
	for _, stmt := range stmts {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(errs...)
}

// Package sqlite keeps the dead-letter service's store in an SQLite file. It is
// for one service; a second one that has the file open at the same time does no
// harm.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options are what Open can do without.
type Options struct {
	// Clock dates changes. Defaults to time.Now.
	Clock func() time.Time
}

// Store is a [store.Store].
type Store struct {
	db    *sqldb.DB
	clock func() time.Time
	rules ruleCache

	// closing is held for reading by calls under way.
	closing sync.RWMutex
	closed  bool
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file of a URL sqlite:FILE, which is made if
// missing. Errors: ErrUnavailable when that may pass by itself,
// [sqldb.ErrURL], the file system's, the context's.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := sqldb.Open(ctx, url, files)
	if err != nil {
		return nil, translate(ctx, "open the store", err)
	}
	return &Store{db: db, clock: o.Clock}, nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.db.Close()
}

// enter is called first in each call; unless it fails, leave is last.
func (s *Store) enter() error {
	s.closing.RLock()
	if s.closed {
		s.closing.RUnlock()
		return fmt.Errorf("%w: it was closed", store.ErrUnavailable)
	}
	return nil
}

func (s *Store) leave() { s.closing.RUnlock() }

// write runs f in a transaction that writes. The transaction watches the
// context. The context that f gets doesn't end, since watching it would cost
// each statement a goroutine.
func (s *Store) write(ctx context.Context, what string, f func(context.Context, *writing) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		w := &writing{
			tx: tx, now: s.clock().UnixMicro(), stopped: ctx.Err, prepared: map[string]*sql.Stmt{}, rules: newRulebook(tx),
			told: telling{cache: &s.rules, arrivals: map[int]int64{}},
		}
		stmtCtx := context.WithoutCancel(ctx)
		if err := w.begin(stmtCtx); err != nil {
			return err
		}
		if err := f(stmtCtx, w); err != nil {
			return err
		}
		return w.end(stmtCtx)
	})
	return translate(ctx, what, err)
}

// read runs f in a transaction that sees one state of the store.
func (s *Store) read(ctx context.Context, what string, f func(*sql.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return translate(ctx, what, s.reading(ctx, f))
}

func (s *Store) reading(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.Reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return f(tx)
}

// translate turns an error of the driver into one of the contract.
func translate(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case isAnswer(err):
		return fmt.Errorf("%s: %w", what, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case sqldb.IsUnavailable(err):
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isAnswer says whether an error is the contract's already.
func isAnswer(err error) bool {
	for _, answer := range []error{
		store.ErrNotFound, store.ErrBadArrival, store.ErrNotOpen, store.ErrEtag,
		store.ErrNotReplayable, store.ErrRun, store.ErrNotPending, store.ErrNoSelection,
		store.ErrNoRule, store.ErrRuleExists, store.ErrTooManyRules,
		store.ErrNoReplay, store.ErrReplayEnded, store.ErrRequestID, store.ErrMoved, store.ErrNotOverdue,
		store.ErrNoGroup, store.ErrTooMany,
		store.ErrHeld, store.ErrManyPolicies, store.ErrRevisions,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

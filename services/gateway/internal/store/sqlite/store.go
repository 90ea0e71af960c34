// Package sqlite keeps the gateway's store in an SQLite file. It is for one
// gateway; a second one that has the file open at the same time does no harm.
package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options are what Open can do without.
type Options struct {
	// Clock dates tombstones and the feed. Defaults to time.Now.
	Clock func() time.Time
}

// Store is a [store.Store].
type Store struct {
	db     *sqldb.DB
	clock  func() time.Time
	stmts  statements
	recent recent
	// maxCancellations and queuedBudget are as they are but in tests.
	maxCancellations int64
	queuedBudget     time.Duration
	// identity tells the store from others.
	identity [8]byte

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
	s := &Store{db: db, clock: o.Clock, maxCancellations: store.MaxCancellations, queuedBudget: queuedBudget}
	if err := s.stmts.prepare(ctx, db); err != nil {
		return nil, errors.Join(translate(ctx, "open the store", err), db.Close())
	}
	if err := s.identify(ctx); err != nil {
		return nil, errors.Join(translate(ctx, "open the store", err), s.Close())
	}
	return s, nil
}

func (s *Store) identify(ctx context.Context) error {
	var id []byte
	if err := s.db.Reader.QueryRowContext(ctx, selectIdentity).Scan(&id); err != nil {
		return fmt.Errorf("read its identity: %w", err)
	}
	copy(s.identity[:], id)
	return nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.stmts.close(), s.db.Close())
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

// translate turns an error of the driver into one of the contract.
func translate(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrBadEvent), errors.Is(err, store.ErrChanged),
		errors.Is(err, store.ErrFeedPosition), errors.Is(err, store.ErrFeedTrimmed), errors.Is(err, store.ErrUnavailable),
		errors.Is(err, store.ErrRetired), errors.Is(err, store.ErrInUse):
		return fmt.Errorf("%s: %w", what, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case sqldb.IsUnavailable(err):
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

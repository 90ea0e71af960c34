package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/warrenmq/warren/pkg/task"
)

// Start implements [store.Store].
func (s *Store) Start(ctx context.Context, requests []task.StartRequest) ([]task.StartAnswer, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(requests) == 0 {
		return nil, nil
	}
	answers := make([]task.StartAnswer, len(requests))
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		// As in Apply, the transaction watches the context.
		stmtCtx := context.WithoutCancel(ctx)
		d := s.newDecisions(stmtCtx, tx)
		for i := range requests {
			if id, ok := parseID(requests[i].TaskID); ok {
				d.add(id)
			}
		}
		if err := d.load(stmtCtx); err != nil {
			return err
		}
		for i := range requests {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if answers[i], err = d.start(stmtCtx, requests[i]); err != nil {
				return fmt.Errorf("start of task %s: %w", requests[i].TaskID, err)
			}
		}
		return d.save(stmtCtx)
	})
	if err != nil {
		return nil, translate(ctx, "decide about starts", err)
	}
	return answers, nil
}

// ClaimRun implements [store.Store].
func (s *Store) ClaimRun(ctx context.Context, id string, run int, c task.Copy) (held, ended bool, err error) {
	if err := s.enter(); err != nil {
		return false, false, err
	}
	defer s.leave()
	what := fmt.Sprintf("claim run %d of task %q", run, id)
	u, ok := parseID(id)
	if !ok {
		return false, false, nil
	}
	err = s.db.Write(ctx, func(tx *sql.Tx) error {
		d := s.newDecisions(ctx, tx)
		d.add(u)
		if err := d.load(ctx); err != nil {
			return err
		}
		var err error
		if held, ended, err = d.hold(ctx, u, run, c); err != nil {
			return err
		}
		return d.save(ctx)
	})
	if err != nil {
		return false, false, translate(ctx, what, err)
	}
	return held, ended, nil
}

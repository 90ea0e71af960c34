package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of a call that replays many.
const (
	defaultItems = 100
	bulkPage     = 200
	bulkWorkers  = 16
	maxProblems  = 100
	maxBulkTime  = 10 * time.Minute
)

// ReplayDeadLetters implements warren.deadletter.v1.DeadLetterService. When the
// caller's deadline comes first, the answer says what was begun until then.
func (s *Service) ReplayDeadLetters(ctx context.Context, r *deadletterv1.ReplayDeadLettersRequest) (*deadletterv1.ReplayDeadLettersResponse, error) {
	f, err := store.Fields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	b := &bulk{s: s, filter: f, reason: r.Reason, left: int(r.MaxItems), validateOnly: r.ValidateOnly}
	if b.left == 0 {
		b.left = defaultItems
	}
	work, cancel := beforeDeadline(ctx, maxBulkTime)
	defer cancel()
	b.out.Matched, err = s.cfg.Store.Count(work, store.Query{Filter: f, State: store.StateOpen})
	if err == nil {
		err = b.replayAll(work)
	}
	if !r.ValidateOnly {
		s.cfg.Logger.InfoContext(ctx, "an operator has replayed dead letters", "filter", r.Filter, "matched", b.out.Matched,
			"replayed", b.out.Replayed, "resolved", b.out.Resolved, "reason", r.Reason)
	}
	if err != nil && (b.out.Replayed+b.out.Resolved == 0 || ctx.Err() != nil) {
		return nil, answer(err)
	}
	return &b.out, nil
}

// bulk is one such call.
type bulk struct {
	s            *Service
	filter       filter.Expr
	reason       string
	validateOnly bool
	// left is how many more may be selected, after the last of the page before.
	left  int
	after int64

	mu  sync.Mutex
	out deadletterv1.ReplayDeadLettersResponse
}

// replayAll replays page by page, and ends early with an error that the next one
// would meet too.
func (b *bulk) replayAll(ctx context.Context) error {
	for b.left > 0 {
		page, err := b.s.cfg.Store.List(ctx, store.Query{
			Filter: b.filter, State: store.StateOpen, OldestFirst: true, After: b.after, Limit: min(b.left, bulkPage),
		})
		if err != nil {
			return err
		}
		if err := b.replayPage(ctx, page.DeadLetters); err != nil || !page.More {
			return err
		}
		b.left -= len(page.DeadLetters)
		b.after = page.DeadLetters[len(page.DeadLetters)-1].Sequence
	}
	return nil
}

func (b *bulk) replayPage(ctx context.Context, page []store.DeadLetter) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(bulkWorkers)
	for i := range page {
		group.Go(func() error { return b.replay(ctx, &page[i]) })
	}
	return group.Wait()
}

func (b *bulk) replay(ctx context.Context, d *store.DeadLetter) error {
	begun := replay.Begun{Run: 1}
	var err error
	switch {
	case b.validateOnly && d.Foreign:
		err = store.ErrNotReplayable
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !b.validateOnly:
		begun, err = b.s.cfg.Replayer.Begin(ctx, store.ReplayRequest{ID: d.ID, By: callOf(ctx, "ReplayDeadLetters", b.reason)})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil && begun.Run > 0:
		b.out.Replayed++
	case err == nil:
		b.out.Resolved++
	case ctx.Err() != nil:
		return err
	default:
		b.problem(d, explain(err))
		if errors.Is(err, store.ErrUnavailable) || errors.Is(err, replay.ErrGateway) {
			return err
		}
	}
	return nil
}

func (b *bulk) problem(d *store.DeadLetter, e *rpc.Error) {
	if e.Code == codes.Internal {
		logOf(b.s.cfg.Logger, d, d.Run).Error("a dead letter can't be replayed", "error", e)
	}
	if len(b.out.Problems) < maxProblems {
		b.out.Problems = append(b.out.Problems, &deadletterv1.ReplayProblem{
			DeadLetterId: d.ID, Code: int32(e.Code), Reason: rpc.ReasonName(e.Reason), Message: e.Message,
		})
	}
}

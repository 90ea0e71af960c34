package api

import (
	"context"
	"strconv"

	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// DiscardDeadLetters implements warren.deadletter.v1.DeadLetterService.
func (s *Service) DiscardDeadLetters(ctx context.Context, r *deadletterv1.DiscardDeadLettersRequest) (*deadletterv1.DiscardDeadLettersResponse, error) {
	if r.ValidateOnly {
		selection, err := s.preview(ctx, store.BulkDiscard, r.Selector, r.SampleSize)
		return &deadletterv1.DiscardDeadLettersResponse{Selection: selection, Matched: selection.GetCount()}, err
	}
	c := s.newChange(ctx, store.BulkDiscard, r.Selector, "DiscardDeadLetters", r.Reason)
	err := c.run(ctx, r.Selector)
	o := &c.outcome
	return &deadletterv1.DiscardDeadLettersResponse{Matched: o.matched, Discarded: o.changed, Skipped: o.skipped, Problems: o.problems, Remaining: o.left()}, err
}

// RestoreDeadLetters implements warren.deadletter.v1.DeadLetterService.
func (s *Service) RestoreDeadLetters(ctx context.Context, r *deadletterv1.RestoreDeadLettersRequest) (*deadletterv1.RestoreDeadLettersResponse, error) {
	if r.ValidateOnly {
		selection, err := s.preview(ctx, store.BulkRestore, r.Selector, r.SampleSize)
		return &deadletterv1.RestoreDeadLettersResponse{Selection: selection, Matched: selection.GetCount()}, err
	}
	c := s.newChange(ctx, store.BulkRestore, r.Selector, "RestoreDeadLetters", r.Reason)
	err := c.run(ctx, r.Selector)
	o := &c.outcome
	return &deadletterv1.RestoreDeadLettersResponse{Matched: o.matched, Restored: o.changed, Skipped: o.skipped, Problems: o.problems, Remaining: o.left()}, err
}

// HoldDeadLetters implements warren.deadletter.v1.DeadLetterService.
func (s *Service) HoldDeadLetters(ctx context.Context, r *deadletterv1.HoldDeadLettersRequest) (*deadletterv1.HoldDeadLettersResponse, error) {
	action := store.BulkRelease
	if r.Hold {
		action = store.BulkHold
	}
	c := s.newChange(ctx, action, r.Selector, "HoldDeadLetters", r.Reason)
	c.audit.Changes = append(c.audit.Changes, store.AuditChange{Field: "held", After: strconv.FormatBool(r.Hold)})
	err := c.run(ctx, r.Selector)
	o := &c.outcome
	return &deadletterv1.HoldDeadLettersResponse{Matched: o.matched, Changed: o.changed, Skipped: o.skipped, Problems: o.problems, Remaining: o.left()}, err
}

// PurgeDeadLetters implements warren.deadletter.v1.DeadLetterService. What it purges is
// exactly what was counted: nothing that has changed since.
func (s *Service) PurgeDeadLetters(ctx context.Context, r *deadletterv1.PurgeDeadLettersRequest) (*deadletterv1.PurgeDeadLettersResponse, error) {
	if r.ValidateOnly {
		return s.previewPurge(ctx, r)
	}
	c := s.newChange(ctx, store.BulkPurge, r.Selector, "PurgeDeadLetters", r.Reason)
	err := c.purge(ctx, r)
	o := &c.outcome
	return &deadletterv1.PurgeDeadLettersResponse{Matched: o.matched, Purged: o.changed, Skipped: o.skipped, Problems: o.problems, Remaining: o.left()}, err
}

// previewPurge tells the count that the purge asks for: what is frozen, less what can't be
// purged.
func (s *Service) previewPurge(ctx context.Context, r *deadletterv1.PurgeDeadLettersRequest) (*deadletterv1.PurgeDeadLettersResponse, error) {
	selection, err := s.preview(ctx, store.BulkPurge, r.Selector, r.SampleSize)
	if err != nil {
		return nil, err
	}
	frozen, err := s.cfg.Store.Selection(ctx, selection.Token)
	if err != nil {
		return nil, answer(err)
	}
	c := s.newChange(ctx, store.BulkPurge, r.Selector, "PurgeDeadLetters", r.Reason)
	count, err := c.eligible(ctx, frozen.Members)
	if err != nil {
		return nil, answer(err)
	}
	return &deadletterv1.PurgeDeadLettersResponse{Selection: selection, Matched: count}, nil
}

func (c *change) purge(ctx context.Context, r *deadletterv1.PurgeDeadLettersRequest) error {
	work, cancel := beforeDeadline(ctx, maxBulkTime)
	defer cancel()
	selected, err := c.s.selected(work, r.Selector, c.action.From()...)
	if err != nil {
		return answer(err)
	}
	count, err := c.eligible(work, selected.Members)
	if err != nil {
		return answer(err)
	}
	if count != r.ExpectedCount {
		return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_COUNT_MISMATCH,
			"%d dead letters would be purged, not the %d that are expected; nothing was: preview again", count, r.ExpectedCount).
			With("count", strconv.FormatInt(count, 10))
	}
	return c.finish(ctx, c.changeAll(work, r.Selector, &selected, true))
}

// eligible counts the members with which it can be done.
func (c *change) eligible(ctx context.Context, members []store.Member) (count int64, err error) {
	for rest := members; len(rest) > 0; {
		n := min(len(rest), store.MaxPage)
		items, err := c.s.cfg.Store.JudgeMembers(ctx, store.BulkRequest{Action: c.action, Members: rest[:n], Versioned: true})
		if err != nil {
			return 0, err
		}
		for i := range items {
			if items[i].Obstacle == store.ObstacleNone {
				count++
			}
		}
		rest = rest[n:]
	}
	return count, nil
}

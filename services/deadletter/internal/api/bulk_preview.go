package api

import (
	"context"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// preview freezes what a selector selects, with verdicts of a sample.
func (s *Service) preview(ctx context.Context, action store.BulkAction, x *deadletterv1.DeadLetterSelector, size int32) (*deadletterv1.Selection, error) {
	frozen, err := s.frozen(ctx, x, action.From()...)
	if err != nil {
		return nil, answer(err)
	}
	items, err := s.cfg.Store.JudgeMembers(ctx, store.BulkRequest{
		Action: action, Members: sampleOf(frozen.Members, size), Versioned: true,
	})
	if err != nil {
		return nil, answer(err)
	}
	m := selectionToProto(&frozen)
	for i := range items {
		v, message := verdictOf(&items[i])
		m.Sample = append(m.Sample, &deadletterv1.SelectionVerdict{DeadLetterId: items[i].ID, Verdict: v, Message: message})
	}
	return m, nil
}

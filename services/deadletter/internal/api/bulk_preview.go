package api

import (
	"context"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// defaultSample is of how many members a preview tells the verdict.
const defaultSample = 20

// preview freezes what a selector selects, with verdicts of a sample.
func (s *Service) preview(ctx context.Context, action store.BulkAction, x *deadletterv1.DeadLetterSelector, size int32) (*deadletterv1.Selection, error) {
	if size == 0 {
		size = defaultSample
	}
	frozen, err := s.frozen(ctx, x, action.From()...)
	if err != nil {
		return nil, answer(err)
	}
	items, err := s.cfg.Store.JudgeMembers(ctx, store.BulkRequest{
		Action: action, Members: evenly(frozen.Members, int(size)), Versioned: true,
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

// evenly takes so many of all, at the same distances.
func evenly[T any](all []T, size int) []T {
	if len(all) <= size {
		return all
	}
	sample := make([]T, size)
	for i := range sample {
		sample[i] = all[i*len(all)/size]
	}
	return sample
}

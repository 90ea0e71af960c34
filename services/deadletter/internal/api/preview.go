package api

import (
	"context"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// defaultSample is how many verdicts a preview gives.
const defaultSample = 20

// PreviewReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) PreviewReplay(ctx context.Context, r *deadletterv1.PreviewReplayRequest) (*deadletterv1.PreviewReplayResponse, error) {
	set, err := s.frozen(ctx, r.Selector, store.StateOpen)
	if err != nil {
		return nil, answer(err)
	}
	out := selectionToProto(&set)
	size := int(r.SampleSize)
	if size == 0 {
		size = defaultSample
	}
	verdicts, err := s.cfg.Replayer.Preview(ctx, evenly(set.Members, size), planOf(r.Plan))
	if err != nil {
		return nil, answer(err)
	}
	for _, v := range verdicts {
		out.Sample = append(out.Sample, &deadletterv1.SelectionVerdict{
			DeadLetterId: v.DeadLetterID, Verdict: deadletterv1.Verdict(v.Verdict), Message: v.Message,
		})
	}
	return &deadletterv1.PreviewReplayResponse{Selection: out}, nil
}

// evenly takes at most n members, with equal distances between them.
func evenly(members []store.Member, n int) []store.Member {
	if len(members) <= n {
		return members
	}
	sample := make([]store.Member, n)
	for i := range sample {
		sample[i] = members[i*len(members)/n]
	}
	return sample
}

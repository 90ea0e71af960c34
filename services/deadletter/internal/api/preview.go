package api

import (
	"context"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// PreviewReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) PreviewReplay(ctx context.Context, r *deadletterv1.PreviewReplayRequest) (*deadletterv1.PreviewReplayResponse, error) {
	set, err := s.frozen(ctx, r.Selector, store.StateOpen)
	if err != nil {
		return nil, answer(err)
	}
	out := selectionToProto(&set)
	verdicts, err := s.cfg.Replayer.Preview(ctx, sampleOf(set.Members, r.SampleSize), planOf(r.Plan))
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

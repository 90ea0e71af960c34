package api

import (
	"context"
	"encoding/hex"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/fingerprint"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
)

// ExplainFingerprint implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ExplainFingerprint(ctx context.Context, r *deadletterv1.ExplainFingerprintRequest) (*deadletterv1.ExplainFingerprintResponse, error) {
	in, err := s.failure(ctx, r)
	if err != nil {
		return nil, err
	}
	e := fingerprint.Explain(in)
	known, err := s.cfg.Store.HasGroup(ctx, e.GroupID())
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ExplainFingerprintResponse{
		Fingerprint: hex.EncodeToString(e.Sum[:]), FingerprintVersion: fingerprint.Version, GroupId: e.GroupID(), GroupExists: known,
	}
	for _, p := range e.Parts {
		out.Parts = append(out.Parts, &deadletterv1.FingerprintPart{Name: p.Name, Value: p.Value, Source: p.Source})
	}
	for _, x := range e.Replacements {
		out.Replacements = append(out.Replacements, &deadletterv1.FingerprintReplacement{
			Text: x.Text, Offset: int32(x.Offset), Placeholder: string(x.Placeholder),
		})
	}
	return out, nil
}

// failure is the one that a request has or names.
func (s *Service) failure(ctx context.Context, r *deadletterv1.ExplainFingerprintRequest) (fingerprint.Input, error) {
	if x := r.GetSample(); x != nil {
		f := &task.Failure{Code: int(x.Code), Message: x.Message}
		for _, d := range x.Details {
			f.Details = append(f.Details, task.Detail{TypeURL: d.GetTypeUrl(), Value: d.GetValue()})
		}
		return groups.Input(x.Type, task.Cause(x.Cause), policy.Reason(f), f), nil
	}
	d, err := s.cfg.Store.Get(ctx, r.GetDeadLetterId(), true)
	if err != nil {
		return fingerprint.Input{}, answer(err)
	}
	return groups.Input(d.Type, d.Cause, d.Reason, d.Failure), nil
}

package api

import (
	"context"
	"encoding/hex"

	"google.golang.org/protobuf/types/known/timestamppb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// maxTypesShown bounds the types of a selection that an answer counts.
const maxTypesShown = 100

// frozen is what a selector selects, kept under a token: dead letters of a group or
// filter are those in the given states.
func (s *Service) frozen(ctx context.Context, x *deadletterv1.DeadLetterSelector, states ...store.State) (store.Selection, error) {
	return s.chosen(ctx, x, states, s.cfg.Store.Freeze)
}

// selected is what a selector selects, as frozen has it, and is not kept.
func (s *Service) selected(ctx context.Context, x *deadletterv1.DeadLetterSelector, states ...store.State) (store.Selection, error) {
	return s.chosen(ctx, x, states, s.cfg.Store.Select)
}

func (s *Service) chosen(
	ctx context.Context, x *deadletterv1.DeadLetterSelector, states []store.State,
	choose func(context.Context, store.FreezeRequest) (store.Selection, error),
) (store.Selection, error) {
	r := store.FreezeRequest{States: states}
	switch by := x.GetSelector().(type) {
	case *deadletterv1.DeadLetterSelector_Token:
		return s.cfg.Store.Selection(ctx, by.Token)
	case *deadletterv1.DeadLetterSelector_Ids:
		r.IDs = by.Ids.GetDeadLetterIds()
	case *deadletterv1.DeadLetterSelector_GroupId:
		if err := s.knowGroup(ctx, by.GroupId); err != nil {
			return store.Selection{}, err
		}
		r.Filter = filter.Text{Field: store.FieldGroupID, Match: filter.Match{Kind: filter.MatchEqual, Value: by.GroupId}}
	case *deadletterv1.DeadLetterSelector_Filter:
		f, err := store.Fields.Parse(by.Filter)
		if err != nil {
			return store.Selection{}, filterInvalid(err)
		}
		r.Filter = f
	}
	return choose(ctx, r)
}

// selectionToProto is a selection without verdicts.
func selectionToProto(x *store.Selection) *deadletterv1.Selection {
	m := &deadletterv1.Selection{
		Token: x.Token, Count: int64(len(x.Members)), Digest: hex.EncodeToString(x.Digest), MissingIds: x.Missing,
	}
	if !x.ExpireTime.IsZero() {
		m.ExpireTime = timestamppb.New(x.ExpireTime)
	}
	for _, t := range x.ByType[:min(len(x.ByType), maxTypesShown)] {
		m.ByType = append(m.ByType, &deadletterv1.SelectionCount{Value: t.Type, Count: t.Count})
	}
	for _, c := range x.ByCause {
		m.ByCause = append(m.ByCause, &deadletterv1.SelectionCount{Value: c.Cause.String(), Count: c.Count})
	}
	return m
}

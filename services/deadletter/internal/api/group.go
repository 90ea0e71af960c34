package api

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// groupOrders are the orders of groups as requests name them.
var groupOrders = map[string]store.GroupOrder{
	"": store.ByLastSeen, "last_seen_time desc": store.ByLastSeen, "first_seen_time desc": store.ByFirstSeen,
	"count desc": store.ByCount, "open_count desc": store.ByOpen,
}

// ListFailureGroups implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListFailureGroups(ctx context.Context, r *deadletterv1.ListFailureGroupsRequest) (*deadletterv1.ListFailureGroupsResponse, error) {
	order, ok := groupOrders[r.OrderBy]
	if !ok {
		return nil, badField("order_by", "order_by is `last_seen_time desc`, `first_seen_time desc`, `count desc` or `open_count desc`")
	}
	f, err := store.GroupFields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	tag := groupsTag(r.Filter, order)
	after, err := parseGroupsToken(tag, r.PageToken)
	if err != nil {
		return nil, err
	}
	page, err := s.cfg.Store.Groups(ctx, store.GroupQuery{Filter: f, Order: order, After: after, Limit: pageSize(r.PageSize, maxPage)})
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListFailureGroupsResponse{}
	var last store.GroupPlace
	bytes := 0
	for n := range page.Groups {
		m := groupToProto(&page.Groups[n])
		if bytes += proto.Size(m) + 8; n > 0 && bytes > maxPageBytes {
			page.More = true
			break
		}
		out.Groups, last = append(out.Groups, m), order.Place(&page.Groups[n])
	}
	if page.More {
		out.NextPageToken = groupsToken(tag, last)
	}
	return out, nil
}

// GetFailureGroup implements warren.deadletter.v1.DeadLetterService.
func (s *Service) GetFailureGroup(ctx context.Context, r *deadletterv1.GetFailureGroupRequest) (*deadletterv1.GetFailureGroupResponse, error) {
	g, err := s.cfg.Store.Group(ctx, r.GroupId)
	if err != nil {
		return nil, answer(err)
	}
	return &deadletterv1.GetFailureGroupResponse{Group: groupToProto(&g)}, nil
}

// UpdateFailureGroup implements warren.deadletter.v1.DeadLetterService.
func (s *Service) UpdateFailureGroup(ctx context.Context, r *deadletterv1.UpdateFailureGroupRequest) (*deadletterv1.UpdateFailureGroupResponse, error) {
	u := store.GroupUpdate{ID: r.GroupId, Etag: r.Etag, By: callOf(ctx, "UpdateFailureGroup", r.Reason)}
	if err := maskGroup(&u, r); err != nil {
		return nil, err
	}
	g, err := s.cfg.Store.UpdateGroup(ctx, u)
	if errors.Is(err, store.ErrEtag) {
		return nil, rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
			"the failure group has changed since it had this etag; look at it again")
	}
	if err != nil {
		return nil, answer(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has changed a failure group", "group_id", g.ID, "state", g.State.String(), "reason", r.Reason)
	return &deadletterv1.UpdateFailureGroupResponse{Group: groupToProto(&g)}, nil
}

// maskGroup takes the fields of a request that its mask names.
func maskGroup(u *store.GroupUpdate, r *deadletterv1.UpdateFailureGroupRequest) error {
	paths := r.UpdateMask.GetPaths()
	if len(paths) == 0 {
		return badField("update_mask", "name what to change: `state`, `note` or `mute_until_time`")
	}
	for _, path := range paths {
		switch path {
		case "state":
			state := store.GroupState(r.Update.GetState())
			if !slices.Contains([]store.GroupState{store.GroupOpen, store.GroupAcknowledged, store.GroupResolved}, state) {
				return badField("update.state", "state is OPEN, ACKNOWLEDGED or RESOLVED")
			}
			u.State = &state
		case "note":
			note := r.Update.GetNote()
			u.Note = &note
		case "mute_until_time":
			until, err := optionalTime("update.mute_until_time", r.Update.GetMuteUntilTime())
			if err != nil {
				return err
			}
			u.MuteUntil = &until
		default:
			return badField("update_mask", "there is no field "+strconv.Quote(path)+"; fields are `state`, `note` and `mute_until_time`")
		}
	}
	return nil
}

// knowGroup fails if there is no such group.
func (s *Service) knowGroup(ctx context.Context, id string) error {
	known, err := s.cfg.Store.HasGroup(ctx, id)
	if err == nil && !known {
		err = store.ErrNoGroup
	}
	if err != nil {
		return answer(err)
	}
	return nil
}

// badField says what is wrong with a field of a request.
func badField(field, problem string) error {
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request is not valid: %s: %s", field, problem).Field(field, problem)
}

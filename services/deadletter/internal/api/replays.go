package api

import (
	"context"
	"crypto/sha256"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// defaultInFlight is how many items a plan without a bound has in flight.
const defaultInFlight = 1000

// CreateReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) CreateReplay(ctx context.Context, r *deadletterv1.CreateReplayRequest) (*deadletterv1.CreateReplayResponse, error) {
	n := store.NewReplay{Plan: planOf(r.Plan), By: callOf(ctx, "CreateReplay", r.Reason)}
	var err error
	if n.Selector, err = protojson.Marshal(r.Selector); err != nil {
		return nil, rpc.Internal(err)
	}
	if r.RequestId != "" && !r.ValidateOnly {
		if n.RequestID, n.RequestHash, err = requestOf(r); err != nil {
			return nil, rpc.Internal(err)
		}
		made, err := s.cfg.Store.ReplayOf(ctx, n.RequestID, n.RequestHash)
		if err == nil {
			return &deadletterv1.CreateReplayResponse{Replay: replayToProto(&made)}, nil
		}
		if !isNoReplay(err) {
			return nil, answer(err)
		}
	}
	if n.Selection, err = s.selected(ctx, r.Selector, store.StateOpen); err != nil {
		return nil, answer(err)
	}
	if len(n.Selection.Members) == 0 {
		return nil, rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_SELECTION_EMPTY,
			"nothing is selected; a group or a filter selects dead letters that are OPEN")
	}
	if r.ValidateOnly {
		return &deadletterv1.CreateReplayResponse{Replay: replayToBe(r, &n)}, nil
	}
	made, err := s.create(ctx, n)
	if err != nil {
		return nil, answer(err)
	}
	return &deadletterv1.CreateReplayResponse{Replay: replayToProto(&made)}, nil
}

func (s *Service) create(ctx context.Context, n store.NewReplay) (store.Replay, error) {
	made, err := s.cfg.Store.CreateReplay(ctx, n)
	if err == nil {
		s.cfg.Logger.InfoContext(ctx, "an operator has created a replay", "replay_id", made.ID, "total", made.Counts.Total,
			"state", made.State.String(), "actor", n.By.Actor, "reason", n.By.Reason)
	}
	return made, err
}

// requestOf is the id of a request, and the hash of what it asks for.
func requestOf(r *deadletterv1.CreateReplayRequest) (string, []byte, error) {
	asked := proto.CloneOf(r)
	asked.RequestId = ""
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(asked)
	hash := sha256.Sum256(b)
	return r.RequestId, hash[:], err
}

// GetReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) GetReplay(ctx context.Context, r *deadletterv1.GetReplayRequest) (*deadletterv1.GetReplayResponse, error) {
	found, err := s.cfg.Store.Replay(ctx, r.ReplayId)
	if err != nil {
		return nil, answer(err)
	}
	return &deadletterv1.GetReplayResponse{Replay: replayToProto(&found)}, nil
}

// ListReplays implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListReplays(ctx context.Context, r *deadletterv1.ListReplaysRequest) (*deadletterv1.ListReplaysResponse, error) {
	tag := tagOf("replays", r.Filter)
	before, err := placeOf(tag, r.PageToken)
	if err != nil {
		return nil, err
	}
	f, err := store.ReplayFields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	size := pageSize(r.PageSize, maxPage)
	page, err := s.cfg.Store.Replays(ctx, store.ReplayQuery{Filter: f, Before: before, Limit: size + 1})
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListReplaysResponse{}
	if len(page) > size {
		page = page[:size]
		out.NextPageToken = token(tag, page[size-1].Sequence)
	}
	for i := range page {
		out.Replays = append(out.Replays, listed(replayToProto(&page[i])))
	}
	return out, nil
}

// ListReplayItems implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListReplayItems(ctx context.Context, r *deadletterv1.ListReplayItemsRequest) (*deadletterv1.ListReplayItemsResponse, error) {
	q := store.ItemQuery{ReplayID: r.ReplayId, Limit: pageSize(r.PageSize, store.MaxPage)}
	bound := []string{"items", r.ReplayId}
	for _, state := range r.States {
		if state != deadletterv1.ReplayItemState_REPLAY_ITEM_STATE_UNSPECIFIED {
			q.States = append(q.States, store.ItemState(state))
		}
		bound = append(bound, state.String())
	}
	tag := tagOf(bound...)
	from, err := placeOf(tag, r.PageToken)
	if err != nil {
		return nil, err
	}
	q.From = int(from)
	page, err := s.cfg.Store.ReplayItems(ctx, q)
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListReplayItemsResponse{}
	for i := range page.Items {
		out.Items = append(out.Items, itemToProto(&page.Items[i]))
	}
	if page.Next > 0 {
		out.NextPageToken = token(tag, int64(page.Next))
	}
	return out, nil
}

// PauseReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) PauseReplay(ctx context.Context, r *deadletterv1.PauseReplayRequest) (*deadletterv1.PauseReplayResponse, error) {
	changed, err := s.steer(ctx, store.Steering{ReplayID: r.ReplayId, Action: store.SteerPause, By: callOf(ctx, "PauseReplay", r.Reason)})
	return &deadletterv1.PauseReplayResponse{Replay: changed}, err
}

// ResumeReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ResumeReplay(ctx context.Context, r *deadletterv1.ResumeReplayRequest) (*deadletterv1.ResumeReplayResponse, error) {
	changed, err := s.steer(ctx, store.Steering{ReplayID: r.ReplayId, Action: store.SteerResume, By: callOf(ctx, "ResumeReplay", r.Reason)})
	return &deadletterv1.ResumeReplayResponse{Replay: changed}, err
}

// CancelReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) CancelReplay(ctx context.Context, r *deadletterv1.CancelReplayRequest) (*deadletterv1.CancelReplayResponse, error) {
	changed, err := s.steer(ctx, store.Steering{ReplayID: r.ReplayId, Action: store.SteerCancel, By: callOf(ctx, "CancelReplay", r.Reason)})
	return &deadletterv1.CancelReplayResponse{Replay: changed}, err
}

// UpdateReplay implements warren.deadletter.v1.DeadLetterService.
func (s *Service) UpdateReplay(ctx context.Context, r *deadletterv1.UpdateReplayRequest) (*deadletterv1.UpdateReplayResponse, error) {
	x := store.Steering{ReplayID: r.ReplayId, Action: store.SteerUpdate, Etag: r.Etag, By: callOf(ctx, "UpdateReplay", r.Reason)}
	plan := planOf(r.Plan)
	for _, path := range r.UpdateMask.GetPaths() {
		switch path {
		case "max_per_second":
			x.MaxPerSecond = &plan.MaxPerSecond
		case "max_in_flight":
			x.MaxInFlight = &plan.MaxInFlight
		default:
			return nil, maskInvalid("%q can't be changed: name max_per_second or max_in_flight", path)
		}
	}
	if x.MaxPerSecond == nil && x.MaxInFlight == nil {
		return nil, maskInvalid("it names nothing: name max_per_second or max_in_flight")
	}
	changed, err := s.steer(ctx, x)
	return &deadletterv1.UpdateReplayResponse{Replay: changed}, err
}

func maskInvalid(format string, args ...any) error {
	e := rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "update_mask: "+format, args...)
	return e.Field("update_mask", e.Message)
}

func (s *Service) steer(ctx context.Context, x store.Steering) (*deadletterv1.Replay, error) {
	changed, err := s.cfg.Store.SteerReplay(ctx, x)
	if err != nil {
		return nil, answer(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has called "+x.By.Method, "replay_id", changed.ID, "state", changed.State.String(),
		"actor", x.By.Actor, "reason", x.By.Reason)
	return replayToProto(&changed), nil
}

// ReopenDeadLetter implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ReopenDeadLetter(ctx context.Context, r *deadletterv1.ReopenDeadLetterRequest) (*deadletterv1.ReopenDeadLetterResponse, error) {
	d, err := s.cfg.Store.Reopen(ctx, store.ReopenRequest{
		ID: r.DeadLetterId, Etag: r.Etag, Force: r.Force, By: callOf(ctx, "ReopenDeadLetter", r.Reason),
	})
	if err != nil {
		return nil, answer(err)
	}
	logOf(s.cfg.Logger, &d, d.Run).InfoContext(ctx, "an operator has reopened a dead letter", "force", r.Force, "reason", r.Reason)
	return &deadletterv1.ReopenDeadLetterResponse{DeadLetter: s.show(ctx, &d, false)}, nil
}

// maxIDsListed bounds the ids of a selector in a list: GetReplay has all of them.
const maxIDsListed = 100

func listed(m *deadletterv1.Replay) *deadletterv1.Replay {
	if ids := m.GetSelector().GetIds(); len(ids.GetDeadLetterIds()) > maxIDsListed {
		ids.DeadLetterIds = ids.DeadLetterIds[:maxIDsListed]
	}
	return m
}

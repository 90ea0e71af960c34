package api

import (
	"encoding/hex"
	"errors"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// This file is where replays meet the public API.

func planOf(m *deadletterv1.ReplayPlan) store.Plan {
	p := store.Plan{
		MaxPerSecond: m.GetMaxPerSecond(), MaxInFlight: int(m.GetMaxInFlight()), Canary: int(m.GetCanary()), AbortRatio: m.GetAbortRatio(),
		Delay: m.GetDelay().AsDuration(), MaxAttempts: int(m.GetMaxAttempts()), Expiry: store.Expiry(m.GetExpiry()),
		Revision: int(m.GetPayloadRevision()),
	}
	if p.MaxInFlight == 0 {
		p.MaxInFlight = defaultInFlight
	}
	if p.Expiry == 0 {
		p.Expiry = store.ExpiryNone
	}
	return p
}

func planToProto(p *store.Plan) *deadletterv1.ReplayPlan {
	m := &deadletterv1.ReplayPlan{
		MaxPerSecond: p.MaxPerSecond, MaxInFlight: int32(p.MaxInFlight), Canary: int32(p.Canary), AbortRatio: p.AbortRatio,
		MaxAttempts: int32(p.MaxAttempts), Expiry: deadletterv1.ExpiryMode(p.Expiry), PayloadRevision: int32(p.Revision),
	}
	if p.Delay > 0 {
		m.Delay = durationpb.New(p.Delay)
	}
	return m
}

func replayToProto(r *store.Replay) *deadletterv1.Replay {
	c := &r.Counts
	m := &deadletterv1.Replay{
		ReplayId: r.ID, State: deadletterv1.ReplayState(r.State), StateReason: r.StateReason, Selector: &deadletterv1.DeadLetterSelector{},
		Digest: hex.EncodeToString(r.Digest), Plan: planToProto(&r.Plan), Reason: r.By.Reason, Actor: r.By.Actor,
		Counts: &deadletterv1.ReplayCounts{
			Total: c.Total, Pending: c.Pending, InFlight: c.InFlight, Succeeded: c.Succeeded, FailedAgain: c.FailedAgain,
			Cancelled: c.Cancelled, Skipped: c.Skipped, Unknown: c.Unknown,
		},
		CreateTime: timestamp(r.CreateTime), StartTime: timestamp(r.StartTime), UpdateTime: timestamp(r.UpdateTime), EndTime: timestamp(r.EndTime),
		Etag: r.Etag, MissingIds: r.Missing,
	}
	// A selector of a later version may have what this one does not know.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(r.Selector, m.Selector); err != nil {
		m.Selector = nil
	}
	return m
}

// replayToBe is a replay that would be created.
func replayToBe(r *deadletterv1.CreateReplayRequest, n *store.NewReplay) *deadletterv1.Replay {
	state := deadletterv1.ReplayState_REPLAY_STATE_RUNNING
	switch {
	case n.Plan.Delay > 0:
		state = deadletterv1.ReplayState_REPLAY_STATE_PENDING
	case n.Plan.Canary > 0:
		state = deadletterv1.ReplayState_REPLAY_STATE_CANARY
	}
	total := int64(len(n.Selection.Members))
	return &deadletterv1.Replay{
		State: state, Selector: r.Selector, Digest: hex.EncodeToString(n.Selection.Digest), Plan: planToProto(&n.Plan), Reason: r.Reason,
		Actor: n.By.Actor, Counts: &deadletterv1.ReplayCounts{Total: total, Pending: total}, MissingIds: n.Selection.Missing,
	}
}

func itemToProto(i *store.ReplayItem) *deadletterv1.ReplayItem {
	return &deadletterv1.ReplayItem{
		DeadLetterId: i.DeadLetterID, State: deadletterv1.ReplayItemState(i.State), Verdict: deadletterv1.Verdict(i.Verdict), Message: i.Message,
		Run: int32(i.Run), PayloadRevision: int32(i.Revision), BeginTime: timestamp(i.BeginTime), EndTime: timestamp(i.EndTime),
	}
}

func isNoReplay(err error) bool { return errors.Is(err, store.ErrNoReplay) }

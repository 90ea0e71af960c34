package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// ListAuditEvents implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListAuditEvents(ctx context.Context, r *deadletterv1.ListAuditEventsRequest) (*deadletterv1.ListAuditEventsResponse, error) {
	tag := tagOf("audit", r.Filter)
	before, err := placeOf(tag, r.PageToken)
	if err != nil {
		return nil, err
	}
	f, err := store.AuditFields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	size := pageSize(r.PageSize, maxPage)
	// One more than is shown tells whether others follow.
	events, err := s.cfg.Store.AuditEvents(ctx, f, before, size+1)
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListAuditEventsResponse{}
	if len(events) > size {
		events = events[:size]
		out.NextPageToken = token(tag, events[size-1].Sequence)
	}
	for i := range events {
		out.Events = append(out.Events, auditEventToProto(&events[i]))
	}
	return out, nil
}

func auditEventToProto(e *store.AuditEvent) *deadletterv1.AuditEvent {
	m := &deadletterv1.AuditEvent{
		Sequence: e.Sequence, Time: timestamp(e.Time), Method: e.By.Method, Actor: e.By.Actor, Peer: e.By.Peer,
		Reason: e.By.Reason, Resource: e.Resource, TraceId: e.TraceID,
	}
	for _, c := range e.Changes {
		m.Changes = append(m.Changes, &deadletterv1.AuditChange{Field: c.Field, Before: c.Before, After: c.After})
	}
	return m
}

// ListDeadLetterEvents implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListDeadLetterEvents(ctx context.Context, r *deadletterv1.ListDeadLetterEventsRequest) (*deadletterv1.ListDeadLetterEventsResponse, error) {
	entries, err := s.cfg.Store.Audit(ctx, r.DeadLetterId)
	if err != nil {
		return nil, answer(err)
	}
	out := &deadletterv1.ListDeadLetterEventsResponse{Events: make([]*deadletterv1.DeadLetterEvent, len(entries))}
	for i := range entries {
		e := &entries[i]
		out.Events[i] = &deadletterv1.DeadLetterEvent{
			Time: timestamppb.New(e.Time), Action: string(e.Action), From: deadletterv1.DeadLetterState(e.From), To: deadletterv1.DeadLetterState(e.To),
			Run: int32(e.Run), Reason: e.Reason, Actor: e.Actor,
		}
	}
	return out, nil
}

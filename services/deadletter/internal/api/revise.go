package api

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/schema"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Schemas checks payloads, as [schema.Schemas] does.
type Schemas interface {
	Check(ctx context.Context, taskType string, payload []byte) error
	Encode(ctx context.Context, taskType string, text []byte) ([]byte, error)
	JSON(ctx context.Context, taskType string, payload []byte) ([]byte, error)
	MaxPayloadBytes(ctx context.Context) (int64, error)
}

// ReviseDeadLetter implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ReviseDeadLetter(ctx context.Context, r *deadletterv1.ReviseDeadLetterRequest) (*deadletterv1.ReviseDeadLetterResponse, error) {
	d, made, err := s.revise(ctx, r)
	if err != nil {
		return nil, reviseError(err, r)
	}
	if !r.ValidateOnly {
		logOf(s.cfg.Logger, &d, d.Run).InfoContext(ctx, "an operator has revised a dead letter's payload", "revision", made.Number, "reason", r.Reason)
	}
	return &deadletterv1.ReviseDeadLetterResponse{DeadLetter: s.show(ctx, &d, false), Revision: revisionToProto(&made, &d)}, nil
}

// revise checks the new payload against the dead letter as it is, which the etag has be
// the one that it is kept for.
func (s *Service) revise(ctx context.Context, r *deadletterv1.ReviseDeadLetterRequest) (store.DeadLetter, store.Revision, error) {
	none := func(err error) (store.DeadLetter, store.Revision, error) {
		return store.DeadLetter{}, store.Revision{}, err
	}
	d, err := s.cfg.Store.Get(ctx, r.DeadLetterId, false)
	if err == nil {
		err = revisable(&d, r.Etag)
	}
	var notOpen *store.NotOpenError
	if errors.As(err, &notOpen) && notOpen.State == store.StateInReplay {
		notOpen.Holder, _ = s.cfg.Store.Holder(ctx, d.ID) // without it the answer names nobody
	}
	if err != nil {
		return none(err)
	}
	payload, err := s.newPayload(ctx, d.Type, r)
	if err != nil {
		return none(err)
	}
	diff, err := s.diff(ctx, &d, payload)
	if err != nil {
		return none(err)
	}
	by := callOf(ctx, "ReviseDeadLetter", r.Reason)
	if r.ValidateOnly {
		return d, store.NewRevision(d.Revision+1, payload, diff, by), nil
	}
	return s.cfg.Store.Revise(ctx, store.ReviseRequest{ID: d.ID, Etag: r.Etag, Payload: payload, Diff: diff, By: by})
}

// revisable says what keeps a payload from being revised, in the order of the store.
func revisable(d *store.DeadLetter, etag string) error {
	switch {
	case d.Foreign:
		return store.ErrNotReplayable
	case d.State != store.StateOpen && d.State != store.StateQuarantined:
		return &store.NotOpenError{ID: d.ID, State: d.State}
	case etag != d.Etag:
		return store.ErrEtag
	case d.OnHold:
		return store.ErrHeld
	case d.Revision >= store.MaxRevisions:
		return store.ErrRevisions
	}
	return nil
}

// newPayload is the payload that a request has, checked.
func (s *Service) newPayload(ctx context.Context, taskType string, r *deadletterv1.ReviseDeadLetterRequest) ([]byte, error) {
	payload := r.GetEncoded()
	if _, ok := r.Payload.(*deadletterv1.ReviseDeadLetterRequest_Json); ok {
		var err error
		if payload, err = s.cfg.Schemas.Encode(ctx, taskType, []byte(r.GetJson())); err != nil {
			return nil, err
		}
	}
	limit, err := s.cfg.Schemas.MaxPayloadBytes(ctx)
	if err != nil {
		return nil, err
	}
	if int64(len(payload)) > limit {
		return nil, rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE,
			"the payload has %d bytes, the gateway's limit is %d; send a reference to large data instead", len(payload), limit).
			With("limit_bytes", fmt.Sprint(limit)).Field(payloadField(r), "too large")
	}
	return payload, s.cfg.Schemas.Check(ctx, taskType, payload)
}

// diff says what a new payload changes against the last one, which may be no valid one.
func (s *Service) diff(ctx context.Context, d *store.DeadLetter, payload []byte) (string, error) {
	last, ok, err := s.cfg.Store.Payload(ctx, d.Sequence, d.Revision)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", store.ErrEtag // it was purged meanwhile
	}
	before, after := schema.Text{Name: fmt.Sprint("revision ", d.Revision)}, schema.Text{Name: fmt.Sprint("revision ", d.Revision+1)}
	var bad *catalogue.PayloadError
	if before.JSON, err = s.cfg.Schemas.JSON(ctx, d.Type, last); errors.As(err, &bad) {
		before.Name += fmt.Sprintf(" (no valid %s)", bad.Input)
	} else if err != nil {
		return "", err
	}
	if after.JSON, err = s.cfg.Schemas.JSON(ctx, d.Type, payload); errors.As(err, &bad) {
		after.Name += " (has no JSON)"
	} else if err != nil {
		return "", err
	}
	return schema.Diff(before, after), nil
}

// payloadField is the field of the request that has the payload.
func payloadField(r *deadletterv1.ReviseDeadLetterRequest) string {
	if _, ok := r.Payload.(*deadletterv1.ReviseDeadLetterRequest_Json); ok {
		return "json"
	}
	return "encoded"
}

func reviseError(err error, r *deadletterv1.ReviseDeadLetterRequest) error {
	var bad *catalogue.PayloadError
	var notOpen *store.NotOpenError
	switch {
	case errors.As(err, &bad):
		return bad.Answer(payloadField(r))
	case errors.As(err, &notOpen) && notOpen.State == store.StateInReplay:
		return answer(err)
	case errors.As(err, &notOpen):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_NOT_OPEN,
			"the dead letter is %s; only one that is OPEN or QUARANTINED can be revised", notOpen.State).With("state", notOpen.State.String())
	case errors.Is(err, store.ErrHeld):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_HELD,
			"a hold keeps the dead letter as it is; let it go with HoldDeadLetters")
	case errors.Is(err, store.ErrNotReplayable):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_NOT_REPLAYABLE,
			"the dead letter is no task, so that it has no payload to revise; discard it")
	case errors.Is(err, store.ErrRevisions):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED,
			"the dead letter has %d payload revisions, which is as many as it can have; replay one of them, or submit a new task", store.MaxRevisions).
			With("count", fmt.Sprint(store.MaxRevisions))
	case errors.Is(err, schema.ErrUnknownType):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND,
			"the gateway does not know the dead letter's task type, so that the payload can't be checked; start a worker that serves it")
	case errors.Is(err, schema.ErrGateway):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_GATEWAY_UNAVAILABLE,
			"the gateway does not answer, so that the payload can't be checked; nothing was changed, call again").Because(err)
	}
	return answer(err)
}

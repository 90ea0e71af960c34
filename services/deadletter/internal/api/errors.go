package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// answer is what a caller gets to know of an error.
func answer(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return explain(err)
}

func explain(err error) *rpc.Error {
	var made *rpc.Error
	if errors.As(err, &made) {
		return made
	}
	var notOpen *store.NotOpenError
	switch e := ofReplay(err); {
	case e != nil:
		return e
	case errors.Is(err, store.ErrNotFound):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_NOT_FOUND, "no such dead letter is known; check the id")
	case errors.Is(err, store.ErrNoSelection):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_SELECTION_NOT_FOUND,
			"the token selects nothing: it is kept for %s; preview again", store.SelectionTTL)
	case errors.Is(err, store.ErrNoGroup):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_FAILURE_GROUP_NOT_FOUND, "no such failure group is known; check the id")
	case errors.Is(err, store.ErrUnavailable):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"the dead-letter service's store does not answer; call again").Because(err)
	case errors.As(err, &notOpen) && notOpen.State == store.StateInReplay && !notOpen.Holder.Since.IsZero():
		return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_IN_REPLAY, "%s; wait for its end", notOpen.Holder).
			With("actor", notOpen.Holder.Actor).With("replay_id", notOpen.Holder.ReplayID).
			With("since", notOpen.Holder.Since.Format(time.RFC3339Nano)).With("state", notOpen.State.String())
	case errors.As(err, &notOpen):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_NOT_OPEN,
			"the dead letter is %s; %s", notOpen.State, remedy(notOpen.State)).With("state", notOpen.State.String())
	case errors.Is(err, store.ErrHeld):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_HELD,
			"a hold keeps the dead letter, or all of its type, as it is; let it go with HoldDeadLetters or UpdateDeadLetterPolicy")
	case errors.Is(err, replay.ErrAlive):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_NOT_OPEN,
			"%s; wait for its end", err).With("state", store.StateInReplay.String())
	case errors.Is(err, store.ErrNotReplayable):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_NOT_REPLAYABLE,
			"the dead letter can't be replayed: it is no task, or its task has had the highest run there is; discard it")
	case errors.Is(err, store.ErrEtag):
		return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
			"it has changed since it had this etag; look at it again")
	case errors.Is(err, replay.ErrGateway):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_GATEWAY_UNAVAILABLE,
			"the gateway does not answer, so that it is not known how the task stands; nothing was begun, call again").Because(err)
	}
	return rpc.Internal(err)
}

// remedy says what to do with a dead letter of a state that does not fit.
func remedy(state store.State) string {
	switch state {
	case store.StateQuarantined:
		return "it was replayed as often as its type's policy allows: restore it first"
	case store.StateDiscarded:
		return "restore it first"
	case store.StatePurged:
		return "nothing is left of it"
	}
	return "only one that is OPEN can be replayed, and one that is OPEN or QUARANTINED discarded"
}

func shuttingDown() error {
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		"this dead-letter service is stopping; call again, with the last resume token if it was a watch")
}

func filterInvalid(err error) error {
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_FILTER_INVALID, "%s", err).Field("filter", err.Error())
}

// ofReplay explains what replays answer; nil for another error.
func ofReplay(err error) *rpc.Error {
	var ended *store.ReplayEndedError
	var taken *store.RequestIDError
	var early *store.NotOverdueError
	switch {
	case errors.Is(err, store.ErrNoReplay):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_REPLAY_NOT_FOUND, "no such replay is known; check the id")
	case errors.As(err, &ended):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_REPLAY_ENDED,
			"the replay is %s and begins nothing any more; create another one", ended.State).With("state", ended.State.String())
	case errors.As(err, &taken):
		return rpc.Errorf(codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_REQUEST_ID_CONFLICT,
			"another request with this request_id made replay %s; use a new request_id", taken.ReplayID).With("replay_id", taken.ReplayID)
	case errors.As(err, &early):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_OUTCOME_NOT_OVERDUE,
			"the outcome may still come by itself; it is overdue at %s. force reopens it now, and risks a second execution", early.Time.Format(time.RFC3339)).
			With("overdue_time", early.Time.Format(time.RFC3339Nano))
	}
	return nil
}

package intake

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// maxFaults is how often an arrival on its own is tried when the store fails in
// an unknown way.
const maxFaults = 5

// maxReason bounds a failure's reason in a log line, in bytes: a handler may have made
// it up.
const maxReason = 64

// put has arrivals stored. One that the store does not take, which is found by
// halving, is stored as its bare body.
func (i *Intake) put(ctx context.Context, arrivals []store.Arrival) error {
	if len(arrivals) == 0 {
		return nil
	}
	changes, problem, err := i.putOnce(ctx, arrivals)
	switch {
	case err != nil:
		return err
	case problem == nil:
		i.tell(ctx, arrivals, changes)
		return nil
	case len(arrivals) == 1:
		return i.putBare(ctx, &arrivals[0], problem)
	}
	half := len(arrivals) / 2
	if err := i.put(ctx, arrivals[:half]); err != nil {
		return err
	}
	return i.put(ctx, arrivals[half:])
}

// putOnce stores arrivals in one transaction. It returns why the store does not
// take them, or an error when ctx ends.
//
// While the store is unavailable it tries again. A fault that the store's
// contract has no name for may lie with one arrival, which is not to hold up all
// others: then one that is alone is tried a few times, and given up only if the
// store otherwise works.
func (i *Intake) putOnce(ctx context.Context, arrivals []store.Arrival) (changes []store.Change, problem, err error) {
	faults := 0
	err = retry.Until(ctx, i.log, "the store", func() error {
		var err error
		changes, err = i.cfg.Store.Put(ctx, arrivals)
		switch {
		case err == nil || errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
			return err
		case !errors.Is(err, store.ErrBadArrival) && len(arrivals) == 1:
			if faults++; faults < maxFaults || i.cfg.Store.Check(ctx) != nil {
				return err
			}
		}
		problem = err
		return nil
	})
	return changes, problem, err
}

// putBare keeps what the store does not take as it is: nothing but the body, as
// that of a message which is no task.
func (i *Intake) putBare(ctx context.Context, a *store.Arrival, problem error) error {
	i.logOf(a).ErrorContext(ctx, "a dead letter can't be stored, keeping its body", "bytes", len(a.Message.Body), "error", problem)
	bare := store.Arrival{
		ID: task.NewID(), Foreign: true, Message: store.Message{Body: a.Message.Body}, Notify: a.Notify,
		Occurrence: store.Occurrence{
			Cause: task.CauseUndecodable, Reason: rpc.ReasonName(taskv1.ErrorReason_ERROR_REASON_MESSAGE_UNDECODABLE),
			Failure: rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_MESSAGE_UNDECODABLE,
				"the message could not be stored with its properties: %.500q", problem.Error()).Failure(),
		},
	}
	groups.Identify(&bare)
	changes, problem, err := i.putOnce(ctx, []store.Arrival{bare})
	if err == nil && problem != nil {
		err = fmt.Errorf("store the body of a dead letter: %w", problem)
	}
	if err != nil {
		return err
	}
	i.tell(ctx, []store.Arrival{bare}, changes)
	return nil
}

// tell says what has come in.
func (i *Intake) tell(ctx context.Context, arrivals []store.Arrival, changes []store.Change) {
	notified := false
	for n, c := range changes {
		notified = notified || c.Notified
		if c.Kind == store.ChangeNone {
			continue
		}
		a := &arrivals[n]
		failed := code.Code_OK
		if f := a.Occurrence.Failure; f != nil {
			failed = code.Code(f.Code)
		}
		i.logOf(a).InfoContext(ctx, "dead letter", "state", c.State.String(), "cause", a.Occurrence.Cause.String(),
			"code", failed.String(), "reason", telemetry.BoundText(a.Occurrence.Reason, maxReason))
	}
	if notified {
		i.cfg.Notified()
	}
}

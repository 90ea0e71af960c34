package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// maxPurge bounds a purge, whatever its caller's deadline; what is done by then is.
	maxPurge = 5 * time.Minute
	// maxBehind is how long a purge waits for the projection.
	maxBehind = 30 * time.Second
	// awaitPurged is how long a purge waits for cancellations of what waited for a retry.
	awaitPurged = 5 * time.Second
)

// PurgeQueue implements warren.admin.v1.AdminService. No task that came in after it was
// counted makes it purge more than that.
func (s *Service) PurgeQueue(ctx context.Context, r *adminv1.PurgeQueueRequest) (*adminv1.PurgeQueueResponse, error) {
	t, err := s.known(r.TaskType, "task_type")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxPurge)
	defer cancel()
	ready, retrying, err := s.purgeable(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	if n := ready + retrying; n > r.Count {
		return nil, rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED,
			"the queue of %s has %d tasks, %d ready and %d that wait for a retry, which is more than %d: nothing was cancelled; call again with that count if all of them are to go",
			t.Name, n, ready, retrying, r.Count).With("count", strconv.FormatInt(n, 10))
	}
	out := &adminv1.PurgeQueueResponse{}
	log := s.cfg.Logger.With("task_type", t.Name, "reason", r.Reason)
	log.InfoContext(ctx, "an operator purges a queue", "ready", ready, "retrying", retrying)
	defer func() {
		log.InfoContext(ctx, "a purge of a queue has ended", "ready", out.Ready, "retrying", out.Retrying)
	}()
	if out.Ready, err = s.purgeReady(ctx, t.Name, r.Reason, ready); err != nil {
		return nil, purgeError(ctx, out.Ready, err)
	}
	// What was ready, and what workers have started since, is not RETRYING any more.
	if err := s.awaitProjection(ctx); err != nil {
		return nil, purgeError(ctx, out.Ready, err)
	}
	if out.Retrying, err = s.purgeRetrying(ctx, t.Name, r.Reason, r.Count-out.Ready); err != nil {
		return nil, purgeError(ctx, out.Ready+out.Retrying, err)
	}
	return out, nil
}

// purgeable counts what there is to purge. A queue that is missing has nothing ready.
func (s *Service) purgeable(ctx context.Context, taskType string) (ready, retrying int64, err error) {
	states, err := s.cfg.Queues.States(ctx, []string{taskType})
	if err != nil {
		return 0, 0, queueError(ctx, err)
	}
	retrying, _, _, err = s.cfg.Store.Queued(ctx, taskType)
	if err != nil {
		return 0, 0, storeError(err)
	}
	return int64(states[0].Ready), retrying, nil
}

// awaitProjection lets the projection catch up with what a purge has told, which takes it
// longer than a read may wait.
func (s *Service) awaitProjection(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxBehind, projection.ErrBehind)
	defer cancel()
	for {
		err := s.cfg.Projection.CatchUp(ctx)
		if !errors.Is(err, projection.ErrBehind) {
			return err
		}
		if ctx.Err() != nil {
			return projection.ErrBehind
		}
	}
}

// purgeReady purges at most limit messages that are ready.
func (s *Service) purgeReady(ctx context.Context, taskType, reason string, limit int64) (int64, error) {
	if limit == 0 {
		return 0, nil
	}
	// What was begun is brought to its end, so that no task is CANCELLED and its message
	// is there still.
	life, cancel := outlive(ctx, settleTime)
	defer cancel()
	taker, err := s.cfg.OpenTaker(life, taskType)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errBroker, err)
	}
	defer taker.Close()
	p := &purge{service: s, taker: taker, reason: reason}
	defer p.release()
	for p.purged < limit && ctx.Err() == nil {
		asked := min(limit-p.purged, purgeBatch)
		taken, err := taker.Take(int(asked))
		switch {
		case errors.Is(err, broker.ErrMissing):
			return p.purged, nil
		case err != nil:
			return p.purged, fmt.Errorf("%w: %w", errBroker, err)
		}
		if err := p.end(ctx, life, taken); err != nil {
			return p.purged, err
		}
		if int64(len(taken)) < asked {
			return p.purged, nil
		}
	}
	return p.purged, ctx.Err()
}

// purgeRetrying cancels at most limit tasks that wait for a retry.
func (s *Service) purgeRetrying(ctx context.Context, taskType, reason string, limit int64) (n int64, err error) {
	which, err := store.Fields.Parse("state = RETRYING AND type = " + strconv.Quote(taskType))
	if err != nil {
		return 0, fmt.Errorf("make a filter: %w", err)
	}
	var cancelled []string
	q := store.Query{Filter: which, Limit: purgeBatch, Time: time.Second}
	for more := true; more && n < limit; more = q.Before != "" {
		q.Limit = int(min(limit-n, purgeBatch))
		page, err := s.cfg.Store.List(ctx, q)
		if err != nil {
			return n, err
		}
		q.Before = page.Next
		ids := make([]string, len(page.Tasks))
		for i := range page.Tasks {
			ids[i] = page.Tasks[i].ID
		}
		asked, err := s.cancel(ctx, ids, reason)
		if err != nil {
			return n, err
		}
		n, cancelled = n+int64(len(asked)), append(cancelled, asked...)
	}
	ctx, cancel := context.WithTimeout(ctx, awaitPurged)
	defer cancel()
	s.cfg.Control.AwaitCancelled(ctx, cancelled)
	return n, nil
}

// cancel puts cancellations on record, and gives the ids of those that had not ended.
func (s *Service) cancel(ctx context.Context, ids []string, reason string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	answers, err := s.cfg.Control.Cancel(ctx, ids, reason)
	if err != nil {
		return nil, err
	}
	var asked []string
	for i := range answers {
		if a := &answers[i]; a.Changed || a.Outstanding.Position > 0 && !a.Task.State.Terminal() {
			asked = append(asked, ids[i])
		}
	}
	return asked, nil
}

// purgeError makes an answer of what has ended a purge early.
func purgeError(ctx context.Context, done int64, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, store.ErrTooMany):
		return rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_TOO_MANY_CANCELLATIONS,
			"%d tasks are cancelled; as many cancellations are outstanding as can be, so that workers have to see their messages first; call again later", done).Because(err)
	case errors.Is(err, errBroker):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_QUEUE_UNAVAILABLE,
			"%d tasks are cancelled, then RabbitMQ did not answer as it should; call again", done).Because(err)
	}
	return storeError(err)
}

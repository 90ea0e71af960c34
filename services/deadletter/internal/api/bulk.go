package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of a call that replays many.
const (
	defaultItems = 100
	bulkPage     = 500
	bulkRest     = 5 * time.Millisecond
	maxProblems  = 100
	maxBulkTime  = 10 * time.Minute
	maxInFlight  = 100_000
)

// ReplayDeadLetters implements warren.deadletter.v1.DeadLetterService. When the
// caller's deadline comes first, the answer says what was begun until then; the rest
// is begun all the same.
func (s *Service) ReplayDeadLetters(ctx context.Context, r *deadletterv1.ReplayDeadLettersRequest) (*deadletterv1.ReplayDeadLettersResponse, error) {
	f, err := store.Fields.Parse(r.Filter)
	if err != nil {
		return nil, filterInvalid(err)
	}
	work, cancel := beforeDeadline(ctx, maxBulkTime)
	defer cancel()
	b := &bulk{s: s, request: r, filter: f, most: int(r.MaxItems)}
	if b.most == 0 {
		b.most = defaultItems
	}
	if b.out.Matched, err = s.cfg.Store.Count(work, store.Query{Filter: f, State: store.StateOpen}); err != nil {
		return nil, answer(err)
	}
	if r.ValidateOnly {
		err = b.count(work)
	} else {
		err = b.replay(work)
	}
	if err != nil && (b.out.ReplayId == "" || ctx.Err() != nil) {
		return nil, answer(err)
	}
	return &b.out, nil
}

// bulk is one such call.
type bulk struct {
	s       *Service
	request *deadletterv1.ReplayDeadLettersRequest
	filter  filter.Expr
	// most is how many may be selected.
	most int
	out  deadletterv1.ReplayDeadLettersResponse
}

// count says what would be replayed.
func (b *bulk) count(ctx context.Context) error {
	q := store.Query{Filter: b.filter, State: store.StateOpen, OldestFirst: true}
	for left := b.most; left > 0; {
		q.Limit = min(left, bulkPage)
		page, err := b.s.cfg.Store.List(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.DeadLetters {
			d := &page.DeadLetters[i]
			if q.After = d.Sequence; !d.Foreign {
				b.out.Replayed++
				continue
			}
			b.problem(&store.ReplayItem{DeadLetterID: d.ID, Verdict: store.VerdictNoTask, Message: explain(store.ErrNotReplayable).Message})
		}
		if left -= len(page.DeadLetters); !page.More {
			return nil
		}
	}
	return nil
}

// replay creates a replay, and waits until all of it was begun. While the gateway does
// not answer, none is created.
func (b *bulk) replay(ctx context.Context) error {
	set, err := b.s.cfg.Store.Select(ctx, store.FreezeRequest{Filter: b.filter, States: []store.State{store.StateOpen}, Limit: b.most})
	if err != nil || len(set.Members) == 0 {
		return err
	}
	first, err := b.s.cfg.Store.Selected(ctx, []int64{set.Members[0].Sequence}, false)
	if err != nil {
		return err
	}
	if len(first) > 0 {
		if err := b.s.cfg.Replayer.Reach(ctx, first[0].ID); err != nil {
			return err
		}
	}
	selector, err := protojson.Marshal(&deadletterv1.DeadLetterSelector{Selector: &deadletterv1.DeadLetterSelector_Filter{Filter: b.request.Filter}})
	if err != nil {
		return err
	}
	made, err := b.s.create(ctx, store.NewReplay{
		Selector: selector, Selection: set, Plan: store.Plan{MaxInFlight: maxInFlight, Expiry: store.ExpiryNone},
		By: callOf(ctx, "ReplayDeadLetters", b.request.Reason),
	})
	if err != nil {
		return err
	}
	b.out.ReplayId = made.ID
	err = b.s.follow(ctx, made.ID, bulkRest, func(now *store.Replay) (bool, error) {
		c := &now.Counts
		b.out.Replayed = c.InFlight + c.Succeeded + c.FailedAgain + c.Cancelled + c.Unknown
		return c.Pending == 0 || !now.EndTime.IsZero(), nil
	})
	return errors.Join(err, b.skipped(context.WithoutCancel(ctx)))
}

// skipped says why items were not begun.
func (b *bulk) skipped(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime/2)
	defer cancel()
	q := store.ItemQuery{ReplayID: b.out.ReplayId, States: []store.ItemState{store.ItemSkipped}, Limit: bulkPage}
	for {
		page, err := b.s.cfg.Store.ReplayItems(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if page.Items[i].Verdict == store.VerdictAlreadySucceeded {
				b.out.Resolved++
				continue
			}
			b.problem(&page.Items[i])
		}
		if q.From = page.Next; q.From == 0 {
			return nil
		}
	}
}

func (b *bulk) problem(i *store.ReplayItem) {
	if len(b.out.Problems) < maxProblems {
		code, reason := verdictAsError(i.Verdict)
		b.out.Problems = append(b.out.Problems, &deadletterv1.ReplayProblem{
			DeadLetterId: i.DeadLetterID, Code: int32(code), Reason: rpc.ReasonName(reason), Message: i.Message,
		})
	}
}

// verdictAsError is how a call for one dead letter alone would have been refused.
func verdictAsError(v store.Verdict) (codes.Code, taskv1.ErrorReason) {
	switch v {
	case store.VerdictInReplay:
		return codes.Aborted, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_IN_REPLAY
	case store.VerdictChanged:
		return codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH
	case store.VerdictHeld:
		return codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_HELD
	case store.VerdictSchemaIncompatible:
		return codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_INVALID
	case store.VerdictWrongState, store.VerdictQuarantined:
		return codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_DEAD_LETTER_NOT_OPEN
	}
	return codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_NOT_REPLAYABLE
}

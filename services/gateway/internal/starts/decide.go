package starts

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// serve answers a batch as far as it can. What was said of the tasks before the
// workers asked must be in the store first.
func (i *Issuer) serve(ctx context.Context, batch []asked) {
	if err := i.cfg.Projection.CatchUpWithin(ctx, maxBehind); err != nil {
		i.leave(ctx, len(batch), err)
		return
	}
	for part := range slices.Chunk(batch, maxDecide) {
		i.decide(ctx, part)
	}
}

// decide has the store decide and tells the workers. If something is wrong with
// the record of one task, the others are found by halving.
func (i *Issuer) decide(ctx context.Context, batch []asked) {
	requests := make([]task.StartRequest, len(batch))
	for n, a := range batch {
		requests[n] = a.request
	}
	answers, err := i.cfg.Store.Start(ctx, requests)
	if err == nil && len(answers) != len(batch) {
		err = fmt.Errorf("the store decided about %d starts of %d", len(answers), len(batch))
	}
	switch {
	case err == nil:
		i.tellAll(ctx, batch, answers)
	case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil || len(batch) == 1:
		i.leave(ctx, len(batch), err)
	default:
		i.decide(ctx, batch[:len(batch)/2])
		i.decide(ctx, batch[len(batch)/2:])
	}
}

// leave gives up requests, whose workers ask again.
func (i *Issuer) leave(ctx context.Context, n int, err error) {
	if ctx.Err() == nil {
		i.undecided.Do(func() {
			i.cfg.Logger.WarnContext(ctx, "starts can't be decided now, workers have to ask again", "starts", n, "error", err)
		})
	}
}

func (i *Issuer) tellAll(ctx context.Context, batch []asked, answers []task.StartAnswer) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(maxAnswers)
	for n, a := range batch {
		g.Go(func() error {
			if err := i.tell(ctx, a, answers[n]); err != nil {
				i.untold.Do(func() {
					r := &a.request
					telemetry.TaskOfLog{ID: r.TaskID, Type: r.Type, Run: r.Run, Attempt: r.Attempt}.Log(i.cfg.Logger).WarnContext(ctx,
						"a worker was not told whether it may start, it has to ask again", "worker_id", a.workerID, "error", err)
				})
			}
			return nil
		})
	}
	_ = g.Wait()
}

func (i *Issuer) tell(ctx context.Context, a asked, answer task.StartAnswer) error {
	body, err := broker.StartAnswerToProto(a.request.RequestID, answer)
	if err != nil {
		return err
	}
	return i.cfg.Controller.PublishControl(ctx, a.workerID, &brokerv1.ControlMessage{
		GatewayId: i.cfg.GatewayID, Time: timestamppb.Now(), Body: &brokerv1.ControlMessage_Start{Start: body},
	})
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// startTimeout is how long a worker waits for a gateway to answer whether it may
// start a delivery.
const startTimeout = 10 * time.Second

// errNotAsked says that no start can have been permitted.
var errNotAsked = errors.New("no gateway was asked")

// permit asks a gateway whether a delivery may be started that may not be its
// task's only one; an error says that none answered in time, errNotAsked that none
// was asked either.
//
// What this worker had to say before must be on record first: an outcome whose
// settlement was lost would else be unknown to who decides.
func (w *Worker) permit(ctx context.Context, r task.StartRequest) (task.StartAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, w.startTimeout)
	defer cancel()
	receipt, err := w.status.Mark(ctx, r.RequestID)
	if err == nil {
		err = receipt.Wait(ctx)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return task.StartAnswer{}, fmt.Errorf("%w: have earlier events confirmed: %w", errNotAsked, err)
	}
	answer := w.starts.expect(r.RequestID)
	defer w.starts.forget(r.RequestID)
	request := &brokerv1.WorkerRequest{
		Worker: w.identity, RequestId: r.RequestID,
		Request: &brokerv1.WorkerRequest_Start{Start: broker.StartRequestToProto(r)},
	}
	for {
		timer := time.NewTimer(w.ask(ctx, request, "the start of task "+r.TaskID))
		select {
		case a := <-answer:
			timer.Stop()
			return broker.StartAnswerFromProto(a)
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return task.StartAnswer{}, fmt.Errorf("no gateway has answered: %w", context.Cause(ctx))
		}
	}
}

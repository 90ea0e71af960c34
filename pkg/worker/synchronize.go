package worker

import (
	"context"
	"fmt"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

// sayAfter is how long a gateway may take to say what is cancelled before people
// are told that the worker waits for it.
const sayAfter = time.Second

// synchronize asks what is cancelled of the types until a gateway has told all of
// it, or enough is closed. It fails when ctx ends.
func (w *Worker) synchronize(ctx context.Context, types []string, enough <-chan struct{}) error {
	said := time.AfterFunc(sayAfter, func() {
		w.cfg.Logger.Info("waiting for a gateway to tell what is cancelled: taking no tasks before")
	})
	defer said.Stop()
	timer := time.NewTimer(broker.RequestTTL)
	defer timer.Stop()
	for asked := ""; ; {
		s, changed := w.cancelled.state()
		if s.synced {
			return nil
		}
		if s.request != "" && s.request != asked {
			asked = s.request
			timer.Reset(w.askForAll(ctx, s, types))
		}
		select {
		case <-changed: // each part of an answer gives the others time
			timer.Reset(broker.RequestTTL)
		case <-timer.C:
			asked = ""
		case <-ctx.Done():
			return fmt.Errorf("learn what is cancelled: %w", context.Cause(ctx))
		case <-enough:
			return nil
		}
	}
}

// askForAll asks for all that is cancelled, and gives the time after which to ask
// again.
func (w *Worker) askForAll(ctx context.Context, s syncState, types []string) (again time.Duration) {
	return w.ask(ctx, &brokerv1.WorkerRequest{
		Worker: w.identity, RequestId: s.request,
		Request: &brokerv1.WorkerRequest_Sync{Sync: &brokerv1.SyncRequest{Types: types, Control: int32(s.control)}},
	}, "what is cancelled")
}

// keepSynchronized asks again whenever the control queue was lost, until ctx ends. A
// worker that drains does it too: what it runs may be cancelled.
func (w *Worker) keepSynchronized(ctx context.Context, types []string) {
	for w.synchronize(ctx, types, nil) == nil {
		s, changed := w.cancelled.state()
		if !s.synced {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// goBlind starts nothing more: what is cancelled from now on is not heard.
func (w *Worker) goBlind() {
	w.gate.blind()
	w.cancelled.lose()
}

// learn takes in what gateways say of cancellations, and ends what runs of it.
// Gateways are told at once how far it has come.
func (w *Worker) learn(b *brokerv1.CancellationBatch) {
	news := w.cancelled.apply(b)
	if news == nothingNew {
		return
	}
	w.executions.cancel(w.cancelled)
	if news == allKnown {
		w.gate.see()
	}
	w.beatSoon()
}

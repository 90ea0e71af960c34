package worker

import (
	"context"
	"fmt"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/wake"
)

// register announces the worker's services until a gateway has answered, and
// gives the task types that may be consumed.
func (w *Worker) register(ctx context.Context) ([]string, error) {
	id := task.NewID()
	answer := w.answers.expect(id)
	defer w.answers.forget(id)
	for try := 0; ; try++ {
		again := w.ask(ctx, w.registration(id), "the registration")
		if try == 1 {
			w.cfg.Logger.Info("waiting for a gateway to answer the registration")
		}
		timer := time.NewTimer(again)
		select {
		case a := <-answer:
			timer.Stop()
			return w.accepted(a)
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("register: %w", context.Cause(ctx))
		case <-w.stopping:
			timer.Stop()
			return nil, nil
		}
	}
}

func (w *Worker) registration(id string) *brokerv1.WorkerRequest {
	return &brokerv1.WorkerRequest{
		Worker: w.identity, RequestId: id,
		Request: &brokerv1.WorkerRequest_Registration{Registration: &brokerv1.Registration{
			Services: w.announced.Services, Files: w.announced.Files,
		}},
	}
}

func (w *Worker) accepted(a *brokerv1.RegistrationAnswer) ([]string, error) {
	for _, r := range a.Refusals {
		w.cfg.Logger.Error("the gateway refused a registration", "name", r.Name, "reason", r.Message)
	}
	var types []string
	unusable := false
	for _, t := range a.Types {
		if p := w.pools[t.Type]; p != nil {
			if err := w.applyPolicy(p, t); err != nil {
				unusable = true
				w.cfg.Logger.Error("a policy can't be used, its type is not served", "error", err)
				continue
			}
			types = append(types, t.Type)
		}
	}
	switch {
	case len(types) > 0:
		return types, nil
	case unusable:
		return nil, fmt.Errorf("the policies of none of the services %v can be used, see the log", w.announced.Services)
	case len(a.Refusals) == 0:
		return nil, fmt.Errorf("the gateway accepted none of the services %v", w.announced.Services)
	}
	return nil, fmt.Errorf("%w: the gateway accepted none of the services %v: %s", ErrRefused, w.announced.Services, firstReason(a.Refusals))
}

// firstReason is why, as far as one line can say it; the log has all.
func firstReason(refusals []*brokerv1.Refusal) string {
	more := ""
	if n := len(refusals) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more, see the log)", n)
	}
	return fmt.Sprintf("%s: %s%s", refusals[0].Name, refusals[0].Message, more)
}

// announceAgain has a gateway that lost its catalogue be told the services.
func (w *Worker) announceAgain() { wake.Signal(w.announceAsked) }

// announce tells the services anew whenever that was asked for, until ctx ends. The
// answer is not awaited: the next heartbeat shows whether it worked.
func (w *Worker) announce(ctx context.Context) {
	for {
		select {
		case <-w.announceAsked:
			w.announceOnce(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (w *Worker) announceOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatPeriod)
	defer cancel()
	w.ask(ctx, w.registration(task.NewID()), "the registration, again")
}

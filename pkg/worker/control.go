package worker

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

// readControl applies what gateways say, until the link ends.
func (w *Worker) readControl(ctx context.Context, r *broker.Receiver) error {
	for {
		d, err := r.Receive(ctx)
		if err != nil {
			return fmt.Errorf("receive control: %w", err)
		}
		var m brokerv1.ControlMessage
		if err := proto.Unmarshal(d.Body(), &m); err != nil {
			w.cfg.Logger.Warn("a control message can't be decoded", "error", err)
		} else {
			w.hear(&m)
		}
		if err := d.Accept(ctx); err != nil {
			return fmt.Errorf("accept control: %w", err)
		}
		if err := r.Credit(1); err != nil {
			return fmt.Errorf("ask for control: %w", err)
		}
	}
}

// hear takes in what a gateway says.
func (w *Worker) hear(m *brokerv1.ControlMessage) {
	w.clock.learn(w.cfg.Logger, m.GetTime().AsTime(), time.Now())
	switch body := m.Body.(type) {
	case *brokerv1.ControlMessage_Registration:
		w.answers.deliver(body.Registration.RequestId, body.Registration)
	case *brokerv1.ControlMessage_Start:
		w.starts.deliver(body.Start.RequestId, body.Start)
	case *brokerv1.ControlMessage_Starts:
		for _, answer := range body.Starts.GetAnswers() {
			w.starts.deliver(answer.GetRequestId(), answer)
		}
	case *brokerv1.ControlMessage_Heartbeat:
		w.applyPolicies(body.Heartbeat.Types)
		if body.Heartbeat.RegisterAgain {
			w.announceAgain()
		}
	case *brokerv1.ControlMessage_Cancellations:
		w.learn(body.Cancellations)
	case *brokerv1.ControlMessage_Drain:
		w.askToDrain(body.Drain.GetReason())
	}
}

func (w *Worker) applyPolicies(policies []*brokerv1.TypePolicy) {
	for _, t := range policies {
		p := w.pools[t.GetType()]
		if p == nil {
			continue
		}
		if err := w.applyPolicy(p, t); err != nil {
			w.cfg.Logger.Error("a policy can't be used, the one before stays in force", "error", err)
		}
	}
}

// applyPolicy takes over what a gateway says of a type, but for what is older than what
// was taken over before: answers may overtake each other, and of several gateways some
// learn of a change later. What operators have set of its consumption holds even if
// the policy can't be used.
func (w *Worker) applyPolicy(p *pool, t *brokerv1.TypePolicy) (err error) {
	p.taking.Lock()
	defer p.taking.Unlock()
	known := p.version.Load()
	n := newsOf(t, known)
	if n.options {
		err = p.apply(t)
	}
	if !t.Provisional {
		w.applyControl(p, t, n)
		p.version.Store(after(t, known, err == nil))
	}
	return err
}

// applyControl takes over what operators have set of a type's consumption, as far as it
// is news.
func (w *Worker) applyControl(p *pool, t *brokerv1.TypePolicy, n news) {
	resized, suspended := n.slots && p.resize(t.Concurrency), n.pause && p.suspend(t.Pause)
	if !resized && !suspended {
		return
	}
	if resized {
		w.cfg.Logger.Info("the concurrency of a task type has changed", "task_type", t.Type, "concurrency", p.slots.size(), "configured", p.configured)
		w.checkStuck(p)
	}
	if suspended && t.Pause != nil {
		w.cfg.Logger.Info("a task type is paused: taking none of its tasks", "task_type", t.Type, "reason", t.Pause.Reason, "until", t.Pause.Until.AsTime())
	} else if suspended {
		w.cfg.Logger.Info("a task type is resumed: taking its tasks again", "task_type", t.Type)
	}
	w.beatSoon()
}

// askToDrain ends the worker as the end of Run's context does.
func (w *Worker) askToDrain(reason string) {
	w.drainOnce.Do(func() {
		w.cfg.Logger.Info("a gateway asks this worker to drain", "reason", reason)
		close(w.drainAsked)
	})
}

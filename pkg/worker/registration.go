package worker

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	// beatPeriod is the time between two heartbeats.
	beatPeriod = 2 * time.Second
	// announcePeriod is the time between two tries to announce the services
	// while no queue takes them.
	announcePeriod = 200 * time.Millisecond
)

// register announces the worker's services until a gateway has answered, and
// gives the task types that may be consumed.
func (w *Worker) register(ctx context.Context) ([]string, error) {
	id := task.NewID()
	answer := w.answers.expect(id)
	defer w.answers.forget(id)
	for try := 0; ; try++ {
		again := broker.RequestTTL
		if err := w.publisher.PublishRequest(ctx, w.registration(id)); err != nil && ctx.Err() == nil {
			w.cfg.Logger.Debug("can't announce the services, trying again", "error", err)
			again = announcePeriod
		}
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
	for _, t := range a.Types {
		if p := w.pools[t.Type]; p != nil {
			if err := p.apply(t); err != nil {
				w.cfg.Logger.Error("a policy can't be used, its type is not served", "error", err)
				continue
			}
			types = append(types, t.Type)
		}
	}
	if len(types) == 0 {
		return nil, fmt.Errorf("the gateway accepted none of the services %v", w.announced.Services)
	}
	return types, nil
}

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
			w.applyControl(&m)
		}
		if err := d.Accept(ctx); err != nil {
			return fmt.Errorf("accept control: %w", err)
		}
		if err := r.Credit(1); err != nil {
			return fmt.Errorf("ask for control: %w", err)
		}
	}
}

func (w *Worker) applyControl(m *brokerv1.ControlMessage) {
	w.clock.learn(w.cfg.Logger, m.GetTime().AsTime(), time.Now())
	switch body := m.Body.(type) {
	case *brokerv1.ControlMessage_Registration:
		w.answers.deliver(body.Registration.RequestId, body.Registration)
	case *brokerv1.ControlMessage_Start:
		w.starts.deliver(body.Start.RequestId, body.Start)
	case *brokerv1.ControlMessage_Heartbeat:
		for _, t := range body.Heartbeat.Types {
			if p := w.pools[t.Type]; p != nil {
				if err := p.apply(t); err != nil {
					w.cfg.Logger.Error("a policy can't be used, the one before stays in force", "error", err)
				}
			}
		}
		if body.Heartbeat.RegisterAgain {
			w.announceAgain()
		}
	}
}

// announceAgain tells a gateway that lost its catalogue; its answer is not
// awaited, the next heartbeat shows whether it worked.
func (w *Worker) announceAgain() {
	ctx, cancel := context.WithTimeout(context.Background(), beatPeriod)
	defer cancel()
	if err := w.publisher.PublishRequest(ctx, w.registration(task.NewID())); err != nil {
		w.cfg.Logger.Debug("can't announce the services again", "error", err)
	}
}

// beat sends heartbeats until ctx ends.
func (w *Worker) beat(ctx context.Context) {
	ticker := time.NewTicker(beatPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.sendBeat(ctx, false)
		case <-ctx.Done():
			return
		}
	}
}

// goodbye is the last heartbeat, and takes the control queue away, which would
// expire by itself.
func (w *Worker) goodbye(ctx context.Context) {
	w.sendBeat(ctx, true)
	if !w.conn.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beatPeriod)
	defer cancel()
	if err := w.conn.Do(ctx, func(t *broker.Topology) error { return t.RemoveControl(w.ID(), int(w.controls.Load())) }); err != nil {
		w.cfg.Logger.Debug("the control queue was not removed", "error", err)
	}
}

func (w *Worker) sendBeat(ctx context.Context, goodbye bool) {
	if w.publisher.Ready() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beatPeriod)
	defer cancel()
	h := &brokerv1.Heartbeat{Worker: w.identity, Time: timestamppb.Now(), Goodbye: goodbye}
	select {
	case <-w.stopping:
		h.Draining = true
	default:
	}
	for name, p := range w.pools {
		if p.rules.Load() == nil {
			continue // not accepted, or not yet
		}
		h.Types = append(h.Types, &brokerv1.TypeLoad{Type: name, Concurrency: int32(cap(p.slots)), Running: p.running.Load()})
	}
	if err := w.publisher.PublishHeartbeat(ctx, h); err != nil {
		w.cfg.Logger.Debug("a heartbeat was not sent", "error", err)
	}
}

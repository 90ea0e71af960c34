package registry

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// policy is what a worker is to know of a task type; nil if that is not known.
// It is provisional while what operators have set may be missing in it. Without a
// worker it is what all are to know.
func (r *Registry) policy(workerID, taskType string) *brokerv1.TypePolicy {
	// Asked first, for they may be loaded meanwhile.
	loaded := r.cfg.Types.Loaded() && r.cfg.Control.Loaded()
	known, ok := r.cfg.Types.Type(taskType)
	if !ok {
		return nil
	}
	p := &brokerv1.TypePolicy{
		Type: taskType, Timeout: known.Effective.GetTimeout(), MaxResultBytes: r.cfg.MaxResultBytes, Options: known.Effective, Provisional: !loaded,
		Version: &brokerv1.PolicyVersion{Override: known.Override.Version},
	}
	r.cfg.Control.Decorate(workerID, p)
	if p.Provisional {
		p.Version = nil
	}
	return p
}

// Policies are what a worker is to know of those of the task types that are known.
func (r *Registry) Policies(workerID string, types []string) []*brokerv1.TypePolicy {
	var out []*brokerv1.TypePolicy
	for _, name := range types {
		if p := r.policy(workerID, name); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// TellWorkers tells all workers of a task type the policy in force, which they
// would otherwise learn with their next heartbeat. While it is not known, it tells
// them nothing. It fails if the broker can't take the message now.
func (r *Registry) TellWorkers(ctx context.Context, taskType string) error {
	p := r.policy("", taskType)
	if p == nil || p.Provisional {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if apart := r.cfg.Control.Apart(taskType); apart != nil {
		return r.tellApart(ctx, taskType, apart)
	}
	if err := r.cfg.Controller.PublishControlType(ctx, taskType, r.control(heartbeat(p))); err != nil {
		return fmt.Errorf("tell the workers of %s the policy in force: %w", taskType, err)
	}
	return nil
}

// tellApart tells each worker the policy that is in force for it.
func (r *Registry) tellApart(ctx context.Context, taskType string, workerIDs []string) error {
	var g errgroup.Group
	g.SetLimit(maxAnswers)
	for _, id := range workerIDs {
		g.Go(func() error {
			m := r.control(heartbeat(r.Policies(id, []string{taskType})...))
			if err := r.cfg.Controller.PublishControl(ctx, id, m); err != nil {
				return fmt.Errorf("tell worker %s the policy of %s in force: %w", id, taskType, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func heartbeat(types ...*brokerv1.TypePolicy) *brokerv1.ControlMessage {
	return &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: &brokerv1.HeartbeatAnswer{Types: types}}}
}

// control says who speaks, and when.
func (r *Registry) control(m *brokerv1.ControlMessage) *brokerv1.ControlMessage {
	m.GatewayId, m.Time = r.cfg.GatewayID, timestamppb.Now()
	return m
}

// tell sends control to a worker; that the broker can't take it now is no
// reason to keep the request, because the worker repeats it.
func (r *Registry) tell(ctx context.Context, workerID string, m *brokerv1.ControlMessage) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := r.cfg.Controller.PublishControl(ctx, workerID, r.control(m)); err != nil {
		r.cfg.Logger.Warn("a worker was not told", "worker_id", workerID, "error", err)
	}
}

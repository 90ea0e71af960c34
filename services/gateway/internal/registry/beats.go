package registry

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

// maxAnswers bounds the answers on their way at once.
const maxAnswers = 16

func (r *Registry) handleBeats(ctx context.Context, batch []broker.Delivery) error {
	var g errgroup.Group
	g.SetLimit(maxAnswers)
	for _, d := range batch {
		var beat brokerv1.Heartbeat
		if err := proto.Unmarshal(d.Body, &beat); err != nil || beat.GetWorker() == nil {
			r.cfg.Logger.Warn("a heartbeat can't be decoded", "error", err)
			continue
		}
		r.cfg.Control.Beat(&beat, time.Now())
		if !beat.Goodbye {
			g.Go(func() error {
				r.tellBeating(ctx, &beat)
				return nil
			})
		}
	}
	return g.Wait()
}

// tellBeating answers a heartbeat, and tells the worker what it does not know to be
// cancelled, and that it is to drain if it does not yet.
func (r *Registry) tellBeating(ctx context.Context, beat *brokerv1.Heartbeat) {
	r.tell(ctx, beat.Worker.WorkerId, r.answerBeat(beat))
	if news := r.cfg.Control.News(beat); news != nil {
		r.tell(ctx, beat.Worker.WorkerId, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Cancellations{Cancellations: news}})
	}
	if drain := r.cfg.Control.Drains(beat); drain != nil {
		r.tell(ctx, beat.Worker.WorkerId, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Drain{Drain: drain}})
	}
}

// answerBeat tells a worker the policies in force for its types. As long as
// overrides may be missing here, what the worker knows already is better. If it knows
// more than this gateway does, it is looked up who is right.
func (r *Registry) answerBeat(beat *brokerv1.Heartbeat) *brokerv1.ControlMessage {
	answer := &brokerv1.HeartbeatAnswer{}
	behind := false
	for _, load := range beat.Types {
		p := r.policy(beat.Worker.WorkerId, load.Type)
		switch {
		case p == nil:
			answer.RegisterAgain = true
		case !p.Provisional:
			answer.Types = append(answer.Types, p)
			behind = behind || ahead(load.Policy, p)
		}
	}
	if behind {
		r.askCorrection(beat)
	}
	return &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: answer}}
}

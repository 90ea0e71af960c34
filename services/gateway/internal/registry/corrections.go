package registry

import (
	"context"
	"errors"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

const (
	// maxCorrections bounds the heartbeats that wait for a look at the store.
	maxCorrections = 1024
	// rereadTimeout bounds that look.
	rereadTimeout = 5 * time.Second
)

// ahead says whether a worker shows a version of which a policy knows nothing.
func ahead(shown *brokerv1.PolicyVersion, p *brokerv1.TypePolicy) bool {
	here := p.GetVersion()
	return here != nil && (shown.GetControl() > here.Control || shown.GetWorker() > here.Worker || shown.GetOverride() > here.Override)
}

// askCorrection hands over to Run a heartbeat that shows what is not known here, and
// never blocks. If too many wait, the next one will do.
func (r *Registry) askCorrection(beat *brokerv1.Heartbeat) {
	select {
	case r.corrections <- beat:
	default:
	}
}

// serveCorrections sees to what workers show to be ahead of this gateway, until ctx
// ends.
func (r *Registry) serveCorrections(ctx context.Context) {
	for {
		select {
		case beat := <-r.corrections:
			r.correct(ctx, append(r.waitingCorrections(), beat))
		case <-ctx.Done():
			return
		}
	}
}

// waitingCorrections are those that one look at the store is enough for.
func (r *Registry) waitingCorrections() (beats []*brokerv1.Heartbeat) {
	for {
		select {
		case beat := <-r.corrections:
			beats = append(beats, beat)
		default:
			return beats
		}
	}
}

// correct reads anew what operators have set. Mostly another replica was told, and this
// one had not heard of it yet. What the store does not have after a heartbeat has
// shown it is of a store that was replaced: those workers are told what counts now.
func (r *Registry) correct(ctx context.Context, beats []*brokerv1.Heartbeat) {
	reading, cancel := context.WithTimeout(ctx, rereadTimeout)
	defer cancel()
	if err := errors.Join(r.cfg.Types.Refresh(reading), r.cfg.Control.Reread(reading)); err != nil {
		if ctx.Err() == nil {
			r.full.Do(func() {
				r.cfg.Logger.Warn("it can't be looked up now whether workers know what operators have set better", "error", err)
			})
		}
		return
	}
	for _, beat := range beats {
		answer := &brokerv1.HeartbeatAnswer{}
		for _, load := range beat.Types {
			if p := r.policy(beat.Worker.WorkerId, load.Type); ahead(load.Policy, p) {
				p.Corrects = load.Policy
				answer.Types = append(answer.Types, p)
			}
		}
		if len(answer.Types) == 0 {
			continue
		}
		r.cfg.Logger.Warn("a worker goes by settings that the store does not have: it was replaced, or they were forgotten; the worker is told what is set now",
			"worker_id", beat.Worker.WorkerId, "host", beat.Worker.Host, "types", len(answer.Types))
		r.tell(ctx, beat.Worker.WorkerId, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: answer}})
	}
}

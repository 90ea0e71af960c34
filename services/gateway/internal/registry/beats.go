package registry

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

const (
	// maxSilence is after how long without a heartbeat a worker counts as gone.
	maxSilence = 10 * time.Second
	// maxAnswers bounds the answers on their way at once.
	maxAnswers = 16
)

// worker is a live worker as its heartbeats show it.
type worker struct {
	identity *brokerv1.WorkerIdentity
	seen     time.Time
}

func (r *Registry) handleBeats(ctx context.Context, batch []broker.Delivery) error {
	var g errgroup.Group
	g.SetLimit(maxAnswers)
	for _, d := range batch {
		var beat brokerv1.Heartbeat
		if err := proto.Unmarshal(d.Body, &beat); err != nil || beat.GetWorker() == nil {
			r.cfg.Logger.Warn("a heartbeat can't be decoded", "error", err)
			continue
		}
		r.see(&beat, time.Now())
		if !beat.Goodbye {
			g.Go(func() error {
				r.tell(ctx, beat.Worker.WorkerId, r.answerBeat(&beat))
				return nil
			})
		}
	}
	return g.Wait()
}

// answerBeat tells a worker the policies in force for its types. As long as
// overrides may be missing here, what the worker knows already is better.
func (r *Registry) answerBeat(beat *brokerv1.Heartbeat) *brokerv1.ControlMessage {
	answer := &brokerv1.HeartbeatAnswer{}
	for _, load := range beat.Types {
		p := r.policy(load.Type)
		switch {
		case p == nil:
			answer.RegisterAgain = true
		case !p.Provisional:
			answer.Types = append(answer.Types, p)
		}
	}
	return &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: answer}}
}

func (r *Registry) see(beat *brokerv1.Heartbeat, now time.Time) {
	id := beat.Worker.WorkerId
	r.mu.Lock()
	defer r.mu.Unlock()
	if beat.Goodbye {
		delete(r.workers, id)
		r.cfg.Logger.Info("a worker has stopped", "worker_id", id, "host", beat.Worker.Host)
		return
	}
	r.workers[id] = &worker{identity: beat.Worker, seen: now}
}

// forgetGone forgets workers that have been silent for too long.
func (r *Registry) forgetGone(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, w := range r.workers {
		if now.Sub(w.seen) > maxSilence {
			delete(r.workers, id)
			r.cfg.Logger.Warn("a worker is silent, it counts as gone", "worker_id", id, "host", w.identity.Host, "last_seen", w.seen)
		}
	}
}

package worker

import (
	"cmp"
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/wake"
)

const (
	// beatPeriod is the time between two heartbeats, when nothing asks for one.
	beatPeriod = 2 * time.Second
	// beatPause is the shortest time between two.
	beatPause = 20 * time.Millisecond
)

// beatSoon has a heartbeat be sent: gateways wait for what is in it. What asks for
// one while it is on its way shares the next.
func (w *Worker) beatSoon() { wake.Signal(w.beatAsked) }

// beat sends heartbeats until ctx ends.
func (w *Worker) beat(ctx context.Context) {
	ticker := time.NewTicker(beatPeriod)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
		case <-w.beatAsked:
		case <-ctx.Done():
			return
		}
		w.sendBeat(ctx, false)
		retry.Pause(ctx, beatPause)
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
	h := w.heartbeat()
	h.Goodbye = goodbye
	if err := w.publisher.PublishHeartbeat(ctx, h); err != nil {
		w.cfg.Logger.Debug("a heartbeat was not sent", "error", err)
	}
}

// heartbeat says what the worker does. The position comes first: what runs of the
// cancellations up to it is looked for after it.
func (w *Worker) heartbeat() *brokerv1.Heartbeat {
	s, _ := w.cancelled.state()
	h := &brokerv1.Heartbeat{Worker: w.identity, Time: timestamppb.Now(), CancelPosition: s.position, Control: int32(s.control)}
	h.Cancelling, h.Running = w.executions.told(w.cancelled)
	h.Draining = w.stopTaking.Err() != nil
	if state, _ := w.gate.now(); state.paused {
		h.Paused = cmp.Or(state.why, "paused")
	}
	for name, p := range w.pools {
		if p.rules.Load() == nil {
			continue // not accepted, or not yet
		}
		h.Types = append(h.Types, &brokerv1.TypeLoad{
			Type: name, Concurrency: int32(p.slots.size()), Running: p.running.Load(), Configured: int32(p.configured),
			Paused:  p.suspended(&w.clock) > 0,
			Started: p.started.Load(), Succeeded: p.succeeded.Load(), Failed: p.failed.Load(),
			Policy: p.version.Load(),
		})
	}
	return h
}

package replay

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Following asks the gateway for replays in turns: in each period a page of them,
// each of which was not asked for just now. The longer a replay has been going on,
// the more seldom it is asked for.
const (
	followPeriod = 250 * time.Millisecond
	followPage   = 200
	followers    = 16
	minAsk       = 200 * time.Millisecond
	maxAsk       = 15 * time.Second
	// askShare is that of a replay's age which passes between two questions.
	askShare = 8
)

// follow learns how replays end, until ctx ends. Its questions are in no trace:
// each would be one of its own.
func (r *Replayer) follow(ctx context.Context) {
	ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	ticker := time.NewTicker(followPeriod)
	defer ticker.Stop()
	f := &follower{r: r, asked: map[string]time.Time{}, seen: map[string]time.Time{}}
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := f.turn(ctx); err != nil && ctx.Err() == nil && time.Since(f.logged) >= logPeriod {
			r.log.WarnContext(ctx, "the outcome of replays can't be learned now", "error", err)
			f.logged = time.Now()
		}
	}
}

type follower struct {
	r *Replayer
	// after is the place of the last intent of the page before.
	after int64
	// asked are the times of the last questions of the round before, seen those
	// of this round, by intent.
	asked, seen map[string]time.Time
	logged      time.Time
}

// turn asks for a page of replays.
func (f *follower) turn(ctx context.Context) error {
	page, err := f.r.cfg.Store.Intents(ctx, store.IntentPublished, f.after, followPage)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(followers)
	for _, intent := range page {
		f.after = intent.Sequence
		now := time.Now()
		if f.seen[intent.ID] = f.asked[intent.ID]; due(intent.Time, f.asked[intent.ID], now) {
			f.seen[intent.ID] = now
			group.Go(func() error { return f.r.learn(ctx, intent) })
		}
	}
	if len(page) < followPage {
		f.after, f.asked, f.seen = 0, f.seen, map[string]time.Time{}
	}
	return group.Wait()
}

// due says whether to ask for a replay that was begun and last asked for then.
func due(begun, last, now time.Time) bool {
	return now.Sub(last) >= min(max(now.Sub(begun)/askShare, minAsk), maxAsk)
}

// learn asks how a replay stands, and resolves its dead letter if it has ended
// well. One that has died comes in as a dead letter.
func (r *Replayer) learn(ctx context.Context, intent store.Intent) error {
	t, err := r.taskOf(ctx, intent.DeadLetterID)
	if err != nil || t == nil || int(t.Run) < intent.Run {
		// A task that the gateway does not know any more may have ended in any way.
		return err
	}
	outcome := endedWell(t)
	if outcome == 0 {
		return nil
	}
	resolved, err := r.cfg.Store.Resolve(ctx, intent.DeadLetterID, intent.Run, outcome)
	if resolved {
		r.logOf(intent.DeadLetterID, t.Type, intent.Run).DebugContext(ctx, "dead letter resolved", "task_state", stateName(t))
	}
	return err
}

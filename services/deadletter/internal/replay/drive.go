package replay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// driveBatch bounds the items that are begun by one transaction.
	driveBatch = 200
	// sending is how many batches are published at once: while one is, the next is begun.
	sending = 2
	// stuckPause is the wait before what failed is tried again.
	stuckPause = 500 * time.Millisecond
)

// drive is a replay under way. All that it decides by is in the store, so that it may be
// left at any time and taken up again.
type drive struct {
	r       *Replayer
	id      string
	members []store.Member
	bucket  bucket
	// stopped says that nothing more is to be sent first.
	stopped atomic.Bool
	// behind says that intents of the replay may wait to be published by others: nothing
	// is begun before they were.
	behind atomic.Bool
	slots  chan struct{}
	wg     sync.WaitGroup

	mu     sync.Mutex
	logged time.Time
}

func newDrive(r *Replayer, id string) *drive {
	d := &drive{r: r, id: id, slots: make(chan struct{}, sending)}
	d.behind.Store(true)
	return d
}

// run goes on with the replay until it has ended, or ctx.
func (d *drive) run(ctx context.Context) {
	defer d.wg.Wait()
	for ctx.Err() == nil {
		news := d.r.bell.next()
		replay, err := d.r.cfg.Store.Replay(ctx, d.id)
		if errors.Is(err, store.ErrNoReplay) {
			return
		}
		atMost := stuckPause
		if err == nil {
			d.stopped.Store(replay.Stopped())
			if !replay.EndTime.IsZero() {
				d.ended(ctx, &replay)
				return
			}
			atMost, err = d.step(ctx, &replay)
		}
		if err != nil && !errors.Is(err, store.ErrMoved) {
			d.warn(ctx, err)
			pause(ctx, stuckPause)
			continue
		}
		if atMost > 0 {
			pause(ctx, min(atMost, minLook))
			await(ctx, news, atMost)
		}
	}
}

func (d *drive) warn(ctx context.Context, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() == nil && time.Since(d.logged) >= logPeriod {
		d.r.log.WarnContext(ctx, "a replay can't go on now, trying again until it can", "replay_id", d.id, "error", err)
		d.logged = time.Now()
	}
}

func (d *drive) ended(ctx context.Context, r *store.Replay) {
	c := &r.Counts
	d.r.log.InfoContext(ctx, "a replay has ended", "replay_id", r.ID, "state", r.State.String(), "why", r.StateReason, "total", c.Total,
		"succeeded", c.Succeeded, "failed_again", c.FailedAgain, "cancelled", c.Cancelled, "skipped", c.Skipped, "unknown", c.Unknown, "pending", c.Pending)
}

// step does what can be done now, and says how long there is nothing else to do unless
// the replay changes.
func (d *drive) step(ctx context.Context, r *store.Replay) (time.Duration, error) {
	now := time.Now()
	d.bucket.fill(r.Plan.MaxPerSecond, now)
	if r.State == store.ReplayPending {
		if wait := r.DueTime.Sub(now); wait > 0 {
			return min(wait, lookPeriod), nil
		}
		_, err := d.r.cfg.Store.StartReplay(ctx, d.id)
		return 0, err
	}
	if r.State == store.ReplayPaused {
		// What waits to be published is not shown now, and may be there once it is resumed.
		d.behind.Store(true)
		d.bucket = bucket{}
		return lookPeriod, nil
	}
	if waits, err := d.waits(ctx); err != nil || waits {
		return lookPeriod, err
	}
	if !r.State.Begins() || int64(r.Handled) >= r.Counts.Total {
		d.bucket = bucket{}
		return lookPeriod, nil
	}
	room := room(r)
	n := d.bucket.allowed(min(room, driveBatch))
	if n == 0 {
		if room == 0 {
			return lookPeriod, nil
		}
		return min(max(d.bucket.wait(), time.Millisecond), lookPeriod), nil
	}
	return 0, d.begin(ctx, r, n)
}

// room is how many items may be begun, rate aside.
func room(r *store.Replay) int {
	c := &r.Counts
	n := min(r.Plan.MaxInFlight-int(c.InFlight), int(c.Total)-r.Handled)
	if r.State == store.ReplayCanary {
		n = min(n, r.Plan.Canary-int(c.Succeeded+c.InFlight+c.Unknown))
	}
	return max(n, 0)
}

// waits says whether something that was begun before must be published first.
func (d *drive) waits(ctx context.Context) (bool, error) {
	if !d.behind.Load() {
		return false, nil
	}
	// Cleared first: what fails meanwhile sets it again.
	d.behind.Store(false)
	pending, err := d.r.cfg.Store.Intents(ctx, store.IntentPending, 0, store.MaxPage)
	if err != nil {
		d.behind.Store(true)
		return true, err
	}
	for i := range pending {
		if pending[i].ReplayID == d.id && !d.r.isBusy(pending[i].ID) {
			d.behind.Store(true)
			d.r.begun()
			return true, nil
		}
	}
	return false, nil
}

// begin begins the next items, at most n, and has them published.
func (d *drive) begin(ctx context.Context, r *store.Replay, n int) error {
	if d.members == nil {
		var err error
		if d.members, err = d.r.cfg.Store.ReplayMembers(ctx, d.id); err != nil {
			return err
		}
	}
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	batch, err := d.prepare(ctx, r, n)
	if err == nil && len(batch) > 0 {
		d.wg.Go(func() {
			defer func() { <-d.slots }()
			d.publish(ctx, batch)
		})
		return nil
	}
	<-d.slots
	return err
}

// one is an item on its way.
type one struct {
	intent store.Intent
	dead   *store.DeadLetter
	letter *broker.TaskMessage
	// died is the trace of the run that died.
	died map[string]string
}

// prepare begins the next items, and returns those that are to be published.
func (d *drive) prepare(ctx context.Context, r *store.Replay, n int) ([]one, error) {
	all, err := d.r.cfg.Store.Candidates(ctx, d.members[r.Handled:r.Handled+n])
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	judged, err := d.r.judgeAll(ctx, all, &r.Plan, now)
	if err != nil {
		return nil, err
	}
	b := store.Begin{ReplayID: d.id, Handled: r.Handled, Items: make([]store.BeginItem, len(all))}
	var ids []string
	for i := range all {
		j, letter := &judged[i], &all[i].DeadLetter
		b.Items[i] = store.BeginItem{
			Sequence: all[i].Sequence, DeadLetterID: letter.ID, Etag: letter.Etag, Verdict: j.verdict, Message: j.message,
			Run: j.run, MaxAttempts: r.Plan.MaxAttempts, ExpireTime: j.expire, Revision: j.revision,
		}
		if j.verdict == store.VerdictReady {
			b.Items[i].IntentID = uuid.NewString()
			ids = append(ids, b.Items[i].IntentID)
		}
	}
	d.r.occupy(ids, true)
	begun, after, err := d.r.cfg.Store.BeginItems(ctx, b)
	if err != nil {
		d.r.occupy(ids, false)
		// Whether it was committed may not be known.
		d.behind.Store(true)
		return nil, err
	}
	var batch []one
	for i, yes := range begun {
		item := &b.Items[i]
		if !yes {
			d.r.occupy([]string{item.IntentID}, false)
			continue
		}
		batch = append(batch, one{store.Intent{
			ID: item.IntentID, DeadLetterID: item.DeadLetterID, Run: item.Run, State: store.IntentPending, Time: now, Reason: r.By.Reason, Call: r.By.Trace,
			Publishes: 1, ReplayID: d.id, MaxAttempts: item.MaxAttempts, ExpireTime: item.ExpireTime, Revision: item.Revision,
		}, &all[i].DeadLetter, judged[i].letter, judged[i].died})
	}
	d.bucket.spend(len(batch))
	d.stopped.Store(!after.State.Begins())
	return batch, nil
}

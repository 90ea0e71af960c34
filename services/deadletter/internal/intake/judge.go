package intake

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of judging: how many at once, the time for one, and the wait before
// what could not be judged is tried again.
const (
	judgePage    = 64
	judges       = 16
	judgeTimeout = 15 * time.Second
	minRecess    = 200 * time.Millisecond
	maxRecess    = 5 * time.Second
	// logPeriod is the time between two log lines about the same trouble.
	logPeriod = 10 * time.Second
)

// waiting is a task that the broker gave up by itself, as it waits in the store
// to be judged.
type waiting struct {
	Arrival store.Arrival
	// Key is that of the status event that says it has died: the same however
	// often that is written.
	Key        task.Key
	ExpireTime time.Time
	ScheduleID string `json:",omitempty"`
}

func waitingOf(a store.Arrival, x *broker.DeadLetter) *waiting {
	return &waiting{
		Arrival: a, ExpireTime: x.Task.ExpireTime, ScheduleID: x.Task.ScheduleID,
		Key: task.Key{
			// After all that a worker can have said of a delivery.
			Run: x.Task.Run, Attempt: max(x.Attempt, 1), Delivery: x.Acquired + 1,
			Phase: task.PhaseDeadLettered, Copy: x.Task.Copy,
		},
	}
}

func (w *waiting) held() (store.Held, error) {
	data, err := json.Marshal(w)
	if err != nil {
		return store.Held{}, fmt.Errorf("encode what waits: %w", err)
	}
	return store.Held{Key: fmt.Sprintf("%s/%d/%s", w.Arrival.ID, w.Key.Run, hex.EncodeToString(w.Key.Copy[:])), Data: data}, nil
}

func (w *waiting) event() *task.Event {
	a := &w.Arrival
	at := a.Occurrence.DeadTime
	if at.IsZero() {
		at = time.Now()
	}
	return &task.Event{
		TaskID: a.ID, Type: a.Type, Key: w.Key, Time: at,
		Head: &task.Head{
			CreateTime: a.CreateTime, Priority: a.Priority, Labels: a.Labels, TraceID: a.Occurrence.TraceID,
			ExpireTime: w.ExpireTime, ScheduleID: w.ScheduleID,
		},
		Failure: a.Occurrence.Failure, Cause: a.Occurrence.Cause, Decision: a.Occurrence.Decision,
	}
}

// Run judges what waits until ctx ends.
func (i *Intake) Run(ctx context.Context) {
	var logged time.Time
	recess := minRecess
	for ctx.Err() == nil {
		left, err := i.session(ctx)
		if err == nil {
			if !logged.IsZero() {
				i.log.InfoContext(ctx, "nothing waits for the gateway's word any more")
			}
			logged, recess = time.Time{}, minRecess
			select {
			case <-i.news:
			case <-ctx.Done():
			}
			continue
		}
		if ctx.Err() == nil && time.Since(logged) >= logPeriod {
			i.log.WarnContext(ctx, "what the broker gave up by itself waits for the gateway's word", "at_least", left, "error", err)
			logged = time.Now()
		}
		retry.Pause(ctx, recess)
		recess = min(2*recess, maxRecess)
	}
}

// session judges everything that waits once, and returns how much of it, at
// least, waits on, and why.
func (i *Intake) session(ctx context.Context) (left int, why error) {
	var after int64
	for {
		page, err := i.cfg.Store.Held(ctx, after, judgePage)
		if err != nil {
			return left, fmt.Errorf("read what waits: %w", err)
		}
		if len(page) == 0 {
			return left, why
		}
		n, err := i.judgePage(ctx, page)
		left += n
		why = errors.Join(why, err)
		if ctx.Err() != nil || isAway(err) {
			return left, err
		}
		after = page[len(page)-1].Sequence
	}
}

// isAway says whether an error is of the kind that the next call meets too.
func isAway(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// judgePage judges what waits, takes in what has died, and forgets what it has
// judged.
func (i *Intake) judgePage(ctx context.Context, page []store.Held) (left int, why error) {
	var mu sync.Mutex
	var dead []store.Arrival
	var done []string
	var group errgroup.Group
	group.SetLimit(judges)
	for _, h := range page {
		group.Go(func() error {
			arrival, err := i.judge(ctx, h)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				left, why = left+1, err
				return nil
			}
			if arrival != nil {
				dead = append(dead, *arrival)
			}
			done = append(done, h.Key)
			return nil
		})
	}
	_ = group.Wait()
	if err := i.put(ctx, dead); err != nil {
		return len(page), err
	}
	if err := i.cfg.Store.Unhold(ctx, done); err != nil {
		return len(page), fmt.Errorf("forget what was judged: %w", err)
	}
	return left, why
}

// judge returns what is to be stored of something that waits: nil if it was no
// death.
func (i *Intake) judge(ctx context.Context, h store.Held) (*store.Arrival, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	var w waiting
	if err := json.Unmarshal(h.Data, &w); err != nil {
		return nil, fmt.Errorf("decode what waits as %s: %w", h.Key, err)
	}
	died, reported, err := i.hasDied(ctx, &w)
	if err != nil {
		return nil, err
	}
	if !died {
		i.logOf(&w.Arrival).InfoContext(ctx, "the broker gave up a message that is not its task's end", "broker_reason", w.Arrival.Occurrence.BrokerReason)
		return nil, nil
	}
	if !reported {
		err = i.report(ctx, w.event())
	}
	return &w.Arrival, err
}

// hasDied asks the gateway whether a message was its run's end, and whether
// that is on record already.
func (i *Intake) hasDied(ctx context.Context, w *waiting) (died, reported bool, err error) {
	claim, err := i.cfg.Claims.ClaimTaskRun(ctx, &adminv1.ClaimTaskRunRequest{
		TaskId: w.Arrival.ID, Run: int32(w.Key.Run), Copy: w.Key.Copy[:],
	})
	if err != nil {
		return false, false, fmt.Errorf("claim run %d of task %s at the gateway: %w", w.Key.Run, w.Arrival.ID, err)
	}
	if !claim.Held || !claim.Ended {
		return claim.Held, false, nil
	}
	known, err := i.cfg.Tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: w.Arrival.ID})
	if status.Code(err) == codes.NotFound {
		// Its retention has ended, which only what ended well has.
		return false, true, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("ask the gateway for task %s: %w", w.Arrival.ID, err)
	}
	t := known.Task
	endedWell := t.State == taskv1.TaskState_TASK_STATE_SUCCEEDED || t.State == taskv1.TaskState_TASK_STATE_CANCELLED
	return int(t.Run) != w.Key.Run || !endedWell, true, nil
}

// report has a status event confirmed.
func (i *Intake) report(ctx context.Context, e *task.Event) error {
	receipt, err := i.cfg.Status.Write(ctx, e)
	if err == nil {
		err = receipt.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("report that task %s was given up: %w", e.TaskID, err)
	}
	return nil
}

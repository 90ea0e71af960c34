package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	defaultMaxCancel = 10_000
	// cancelPage is how many tasks are cancelled in one transaction.
	cancelPage = 500
	// maxWaitingFor bounds what is said of what cancellations wait for.
	maxWaitingFor = 20
	// tallyTime is kept of a caller's deadline for each task that is looked at again.
	tallyTime = 100 * time.Microsecond
)

// CancelTasks implements warren.task.v1.TaskService. It finds the tasks first, so
// that what comes to match later is not concerned, and then cancels them page by
// page. A call that fails in between has cancelled some of them.
func (s *TaskService) CancelTasks(ctx context.Context, r *taskv1.CancelTasksRequest) (*taskv1.CancelTasksResponse, error) {
	f, err := cancelFilter(r.Filter)
	if err != nil {
		return nil, err
	}
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	limit := int(r.MaxCount)
	if limit == 0 {
		limit = defaultMaxCancel
	}
	c := &bulkCancel{s: s, reason: r.Reason, out: &taskv1.CancelTasksResponse{States: map[string]int64{}}, limit: limit, count: r.ValidateOnly}
	if err := c.find(ctx, f); err != nil || r.ValidateOnly {
		return c.out, err
	}
	s.cfg.Logger.InfoContext(ctx, "tasks are to be cancelled", "filter", r.Filter, "matched", c.out.Matched, "reason", r.Reason)
	if err := c.request(ctx); err != nil {
		return nil, err
	}
	c.await(ctx, cancelWait(r.Timeout))
	c.tally(ctx)
	return c.out, nil
}

// cancelFilter is the filter of tasks that match and have not ended.
func cancelFilter(text string) (filter.Expr, error) {
	f, err := parseFilter(text)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_FILTER_INVALID,
			"nothing was cancelled: the filter is empty; `task_id = *` is every task").Field("filter", "empty")
	}
	var live filter.Or
	for state := task.StateScheduled; !state.Terminal(); state++ {
		live.Terms = append(live.Terms, filter.Enum{Field: store.FieldState, Value: int(state)})
	}
	return filter.And{Terms: []filter.Expr{f, live}}, nil
}

// catchUp waits until what was accepted before the call is in the store.
func (s *TaskService) catchUp(ctx context.Context) error {
	err := s.cfg.Projection.CatchUp(ctx)
	if errors.Is(err, projection.ErrBehind) {
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND,
			"nothing was cancelled: the store has not caught up with the status queue; call again").Because(err)
	}
	return err
}

// bulkCancel is one call of CancelTasks.
type bulkCancel struct {
	s      *TaskService
	reason string
	out    *taskv1.CancelTasksResponse
	// limit is how many tasks may match; count says that they are only counted.
	limit int
	count bool
	ids   []string
	// left are those whose cancellations are waited for.
	left []string
}

// find finds the tasks that match, and counts them.
func (c *bulkCancel) find(ctx context.Context, f filter.Expr) error {
	q := store.Query{Filter: f, QueuePrefix: c.s.queuePrefix(), Limit: store.MaxPage}
	for {
		q.Time = timeToSearch(ctx)
		page, err := c.s.cfg.Store.List(ctx, q)
		if err != nil {
			return readError(err)
		}
		for i := range page.Tasks {
			c.out.Matched++
			c.out.States[page.Tasks[i].State.String()]++
			if !c.count {
				c.ids = append(c.ids, page.Tasks[i].ID)
			}
		}
		if !c.count && len(c.ids) > c.limit {
			return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED,
				"nothing was cancelled: more than %d tasks match; narrow the filter, or raise max_count after a call with validate_only", c.limit).
				With("count", strconv.Itoa(c.limit+1))
		}
		if page.Next == "" {
			return nil
		}
		q.Before = page.Next
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// request puts the cancellations on record.
func (c *bulkCancel) request(ctx context.Context) error {
	for ids := range slices.Chunk(c.ids, cancelPage) {
		answers, err := c.s.cfg.Control.Cancel(ctx, ids, c.reason)
		if err != nil {
			return cancelError(err)
		}
		for i := range answers {
			if t := &answers[i].Task; t.ID == "" || c.s.decided(t) {
				c.note(t)
			} else {
				c.left = append(c.left, t.ID)
			}
		}
	}
	return nil
}

// await waits for what is left, and leaves time to tally it.
func (c *bulkCancel) await(ctx context.Context, atMost time.Duration) {
	wait, cancel := context.WithTimeout(ctx, untilAnswer(ctx, atMost)-time.Duration(len(c.left))*tallyTime)
	defer cancel()
	c.s.awaitCancelled(wait, c.left...)
}

// tally counts what has become of those that were waited for. One that can't be
// read is on its way, as far as is known.
func (c *bulkCancel) tally(ctx context.Context) {
	waiting := newWaiting(c.s.cfg.Control)
	for _, id := range c.left {
		t, err := c.s.cfg.Store.Task(ctx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && c.s.decided(&t) {
			c.note(&t)
			continue
		}
		c.out.Requested++
		waiting.add(id)
	}
	c.out.WaitingFor = waiting.texts
}

// note counts a task that has ended, or was purged since.
func (c *bulkCancel) note(t *task.Task) {
	if t.State == task.StateCancelled {
		c.out.Cancelled++
	} else {
		c.out.Ended++
	}
}

// waiting gathers what cancellations wait for, each thing once.
type waiting struct {
	control Control
	seen    map[string]bool
	// highest is the highest position by task type that was asked for.
	highest map[string]int64
	texts   []string
}

func newWaiting(c Control) *waiting {
	return &waiting{control: c, seen: map[string]bool{}, highest: map[string]int64{}}
}

func (w *waiting) add(taskID string) {
	if len(w.texts) == maxWaitingFor {
		return
	}
	texts := w.control.CancellingOn(taskID)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s: %s", taskID, texts[i])
	}
	if c, ok := w.control.Outstanding(taskID); ok && c.Position > w.highest[c.Type] {
		w.highest[c.Type] = c.Position
		texts = append(texts, w.control.WaitingFor(c.Type, c.Position)...)
	}
	for _, text := range texts {
		if !w.seen[text] && len(w.texts) < maxWaitingFor {
			w.seen[text] = true
			w.texts = append(w.texts, text)
		}
	}
}

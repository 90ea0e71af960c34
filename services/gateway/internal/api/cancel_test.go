package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	isCancelled     = taskv1.CancelOutcome_CANCEL_OUTCOME_CANCELLED
	cancelRequested = taskv1.CancelOutcome_CANCEL_OUTCOME_CANCEL_REQUESTED
	hasEnded        = taskv1.CancelOutcome_CANCEL_OUTCOME_ENDED
)

// cancels puts cancellations on record in a store, where they wait.
type cancels struct {
	store store.Store
	err   error
	// then runs once they are on record.
	then func(ids []string)

	mu          sync.Mutex
	outstanding map[string]store.Cancellation
	// open are the tasks whose cancellations workers may not know yet.
	open  map[string]bool
	pages []int
	// until is when the last wait was to end.
	until time.Time
}

func (c *cancels) Cancel(ctx context.Context, ids []string, reason string) ([]store.CancelAnswer, error) {
	if c.err != nil {
		return nil, c.err
	}
	var requests []store.CancelRequest
	for _, id := range ids {
		requests = append(requests, store.CancelRequest{TaskID: id, Reason: reason, Time: time.Now()})
	}
	answers, err := c.store.Cancel(ctx, requests)
	c.mu.Lock()
	c.pages = append(c.pages, len(ids))
	for _, a := range answers {
		if a.Outstanding.Position > 0 {
			if c.outstanding == nil {
				c.outstanding = map[string]store.Cancellation{}
			}
			c.outstanding[a.Task.ID] = a.Outstanding
		}
	}
	c.mu.Unlock()
	if c.then != nil {
		c.then(ids)
	}
	return answers, err
}

// AwaitCancelled does not wait: nothing comes of them here.
func (c *cancels) AwaitCancelled(ctx context.Context, _ []string) {
	c.mu.Lock()
	c.until, _ = ctx.Deadline()
	c.mu.Unlock()
	if c.then == nil {
		<-ctx.Done()
	}
}

func (c *cancels) Settled(id string, _ int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.open[id]
}

func (c *cancels) Outstanding(id string) (store.Cancellation, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out, ok := c.outstanding[id]
	return out, ok
}

func (c *cancels) WaitingFor(string, int64) []string { return []string{"a worker"} }

func (c *cancels) CancellingOn(id string) []string { return []string{"a handler"} }

// over is the event that ends a task by control.
func over(id, reason string) task.Event {
	return task.Event{TaskID: id, Type: typeDelay, Time: time.Now(), Reason: reason, Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}}
}

func TestCancelTask(t *testing.T) {
	t.Parallel()
	c := &cancels{}
	service, s := newService(t, &fakes{}, func(cfg *Config) {
		c.store = cfg.Store
		cfg.Control = c
	})
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued))
	r := &taskv1.CancelTaskRequest{TaskId: strings.ToUpper(id), Reason: "a mistake", Timeout: durationpb.New(0)}
	answer, err := service.CancelTask(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, cancelRequested, answer.Outcome)
	require.Equal(t, []string{"a handler", "a worker"}, answer.WaitingFor)
	require.Equal(t, taskv1.TaskState_TASK_STATE_QUEUED, answer.Task.State)
	require.Equal(t, "a mistake", answer.Task.CancelRequest.Reason)

	// It is shown to whoever asks, until the task has ended.
	got, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.NotNil(t, got.Task.CancelRequest.Time)
	page, err := service.ListTasks(t.Context(), &taskv1.ListTasksRequest{})
	require.NoError(t, err)
	require.Equal(t, "a mistake", page.Tasks[0].CancelRequest.Reason)
	require.Equal(t, etagOf(1), got.Task.Etag)

	// Asked again, it says how it stands, as soon as that is known.
	answered := make(chan *taskv1.CancelTaskResponse, 1)
	c.then = func([]string) {
		apply(t, s, over(id, "a mistake"))
		service.cfg.Hub.Wake(id)
	}
	go func() {
		r, err := service.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: id, Reason: "impatience", Timeout: durationpb.New(time.Minute)})
		if err == nil {
			answered <- r
		}
	}()
	select {
	case answer = <-answered:
	case <-time.After(patience):
		t.Fatal("not woken")
	}
	require.Equal(t, isCancelled, answer.Outcome)
	require.Equal(t, "a mistake", answer.Task.CancelReason)
	require.Nil(t, answer.Task.CancelRequest)
	require.Empty(t, answer.WaitingFor)
	answer, err = service.CancelTask(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, isCancelled, answer.Outcome)

	// One that ended otherwise.
	id = task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued), event(id, 1, 1, task.PhaseSucceeded))
	answer, err = service.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.Equal(t, hasEnded, answer.Outcome)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, answer.Task.State)
	_, err = service.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: task.NewID()})
	requireReason(t, err, codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND)
}

// A worker has said that it dropped the task, while another may start it still.
func TestCancelledIsAnsweredOnceAllWorkersKnow(t *testing.T) {
	t.Parallel()
	c := &cancels{}
	service, s := newService(t, &fakes{}, func(cfg *Config) {
		c.store = cfg.Store
		cfg.Control = c
	})
	id, other := task.NewID(), task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued), event(other, 1, 0, task.PhaseQueued))
	open := func(ids ...string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open = map[string]bool{}
		for _, id := range ids {
			c.open[id] = true
		}
	}
	open(id)
	c.then = func([]string) {
		apply(t, s, event(id, 1, 1, task.PhaseCancelled), event(other, 1, 1, task.PhaseCancelled))
	}
	r := &taskv1.CancelTaskRequest{TaskId: id, Reason: "a mistake", Timeout: durationpb.New(0)}
	for range 2 {
		answer, err := service.CancelTask(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, cancelRequested, answer.Outcome)
		require.Equal(t, taskv1.TaskState_TASK_STATE_CANCELLED, answer.Task.State)
		require.Contains(t, answer.WaitingFor, "a worker")
	}
	require.Len(t, c.pages, 2, "the store knows what this gateway has not loaded yet")
	open()
	answer, err := service.CancelTask(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, isCancelled, answer.Outcome)

	id, other = task.NewID(), task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued), event(other, 1, 0, task.PhaseQueued))
	open(id)
	bulk, err := service.CancelTasks(t.Context(), &taskv1.CancelTasksRequest{Filter: "task_id = *", Reason: "a test", Timeout: durationpb.New(0)})
	require.NoError(t, err)
	require.EqualValues(t, 1, bulk.Cancelled)
	require.EqualValues(t, 1, bulk.Requested)
	require.Equal(t, []string{id + ": a handler", "a worker"}, bulk.WaitingFor)
}

func TestCancelThatFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		code   codes.Code
		reason taskv1.ErrorReason
	}{
		"too many":    {fmt.Errorf("%w: all of them", store.ErrTooMany), codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_TOO_MANY_CANCELLATIONS},
		"unavailable": {fmt.Errorf("%w: locked", store.ErrUnavailable), codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE},
		"fault":       {errors.New("secret"), codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL},
	} {
		t.Run(name, func(t *testing.T) {
			service, s := newService(t, &fakes{}, func(cfg *Config) { cfg.Control = &cancels{store: cfg.Store, err: c.err} })
			id := task.NewID()
			apply(t, s, event(id, 1, 0, task.PhaseQueued))
			_, err := service.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: id})
			requireReason(t, err, c.code, c.reason)
			require.NotContains(t, err.Error(), "purge", "purged tasks are cancelled too")
			_, err = service.CancelTasks(t.Context(), &taskv1.CancelTasksRequest{Filter: "task_id = *", Reason: "a test"})
			requireReason(t, err, c.code, c.reason)
		})
	}
}

func TestCancelOutlivesTheGatewaysWait(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued))
	service.Stop()
	answer, err := service.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.Equal(t, cancelRequested, answer.Outcome, "it is on record")
	bulk, err := service.CancelTasks(t.Context(), &taskv1.CancelTasksRequest{Filter: "task_id = *", Reason: "a test", Timeout: durationpb.New(time.Minute)})
	require.NoError(t, err)
	require.EqualValues(t, 1, bulk.Requested)
}

func TestCancelTasks(t *testing.T) {
	t.Parallel()
	c := &cancels{}
	f := &fakes{}
	caughtUp := 0
	f.catchUp = func(context.Context) error {
		caughtUp++
		return nil
	}
	service, s := newService(t, f, func(cfg *Config) {
		c.store = cfg.Store
		cfg.Control = c
	})
	var queued []string
	for range 1100 {
		queued = append(queued, task.NewID())
	}
	var events []task.Event
	for _, id := range queued {
		events = append(events, event(id, 1, 0, task.PhaseQueued))
	}
	running, ended, other := task.NewID(), task.NewID(), task.NewID()
	events = append(events,
		event(running, 1, 0, task.PhaseQueued), event(running, 1, 1, task.PhaseStarted),
		event(ended, 1, 0, task.PhaseQueued), event(ended, 1, 1, task.PhaseSucceeded))
	apply(t, s, events...)
	outside := event(other, 1, 0, task.PhaseQueued)
	outside.Type = "acme.v1.Other.Thing"
	apply(t, s, outside)

	r := &taskv1.CancelTasksRequest{Filter: `type = "` + typeDelay + `"`, Reason: "a mistake", ValidateOnly: true}
	answer, err := service.CancelTasks(t.Context(), r)
	require.NoError(t, err)
	require.EqualValues(t, 1101, answer.Matched)
	require.Equal(t, map[string]int64{"QUEUED": 1100, "RUNNING": 1}, answer.States)
	require.Empty(t, c.pages)
	require.Equal(t, 1, caughtUp, "what was accepted before is concerned")

	r.ValidateOnly, r.MaxCount = false, 1100
	_, err = service.CancelTasks(t.Context(), r)
	requireReason(t, err, codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED)
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			require.Equal(t, "1101", info.Metadata["count"])
		}
	}
	require.Empty(t, c.pages)

	// Some end while it waits; one ends by itself, one can't yet.
	c.then = func(ids []string) {
		var events []task.Event
		for _, id := range ids {
			switch id {
			case running:
			case queued[0]:
				events = append(events, event(id, 1, 1, task.PhaseSucceeded))
			default:
				events = append(events, over(id, "a mistake"))
			}
		}
		apply(t, s, events...)
	}
	r.MaxCount = 1101
	answer, err = service.CancelTasks(t.Context(), r)
	require.NoError(t, err)
	require.EqualValues(t, 1101, answer.Matched)
	require.EqualValues(t, 1099, answer.Cancelled)
	require.EqualValues(t, 1, answer.Requested)
	require.EqualValues(t, 1, answer.Ended)
	require.Equal(t, []string{running + ": a handler", "a worker"}, answer.WaitingFor)
	require.Equal(t, []int{500, 500, 101}, c.pages)
	for _, id := range []string{ended, other} {
		_, ok := c.Outstanding(id)
		require.False(t, ok)
	}
}

func TestCancelTasksRefuses(t *testing.T) {
	t.Parallel()
	f := &fakes{}
	service, s := newService(t, f)
	apply(t, s, event(task.NewID(), 1, 0, task.PhaseQueued))
	for _, text := range []string{"colour = 1", "  ", "task_id = * )"} {
		_, err := service.CancelTasks(t.Context(), &taskv1.CancelTasksRequest{Filter: text, Reason: "a test"})
		requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_FILTER_INVALID)
	}
	f.catchUp = func(context.Context) error { return fmt.Errorf("wait: %w", projection.ErrBehind) }
	_, err := service.CancelTasks(t.Context(), &taskv1.CancelTasksRequest{Filter: "task_id = *", Reason: "a test"})
	requireReason(t, err, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND)
}

func TestCancelTasksLeavesTimeToAnswer(t *testing.T) {
	t.Parallel()
	c := &cancels{then: func([]string) {}}
	service, s := newService(t, &fakes{}, func(cfg *Config) {
		c.store = cfg.Store
		cfg.Control = c
	})
	var events []task.Event
	const n = 300
	for range n {
		events = append(events, event(task.NewID(), 1, 0, task.PhaseQueued))
	}
	apply(t, s, events...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	deadline, _ := ctx.Deadline()
	answer, err := service.CancelTasks(ctx, &taskv1.CancelTasksRequest{Filter: "task_id = *", Reason: "a test", Timeout: durationpb.New(5 * time.Minute)})
	require.NoError(t, err)
	require.True(t, c.until.Before(deadline), "there is time to answer")
	require.WithinDuration(t, deadline, c.until, 5*time.Second)
	require.EqualValues(t, n, answer.Requested)
	require.Len(t, answer.WaitingFor, maxWaitingFor)
	require.True(t, slices.Contains(answer.WaitingFor, "a worker"))
}

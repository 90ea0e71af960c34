package api

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// scripted is a store whose answers about one task are told before, one for each
// look at it. The last one stays.
type scripted struct {
	store.Store

	looks  []look
	events []task.NumberedEvent
	// failEvery has each of so many readings of events fail.
	failEvery, readings int
}

type look struct {
	task task.Task
	err  error
}

func (s *scripted) Task(context.Context, string) (task.Task, error) {
	l := s.looks[0]
	if len(s.looks) > 1 {
		s.looks = s.looks[1:]
	}
	return l.task, l.err
}

func (s *scripted) Event(context.Context, string, task.Key) (task.NumberedEvent, error) {
	return s.events[len(s.events)-1], nil
}

func (s *scripted) Events(_ context.Context, _ string, after int64, limit int, _ bool) ([]task.NumberedEvent, error) {
	if s.readings++; s.failEvery > 0 && s.readings%s.failEvery == 0 {
		return nil, fmt.Errorf("read events: %w", store.ErrUnavailable)
	}
	return s.events[after:min(int(after)+limit, len(s.events))], nil
}

// following makes a task service, in the bubble where it is called, over a scripted
// store that has n events.
func following(t *testing.T, f *fakes, n int, looks ...look) (func() *TaskService, *scripted) {
	s := &scripted{looks: looks}
	for i := range n {
		s.events = append(s.events, task.NumberedEvent{Applied: task.Applied{Number: int64(i + 1)}})
	}
	var cfg Config
	newService(t, f, func(c *Config) {
		c.Store = s
		cfg = *c
	})
	return func() *TaskService {
		cfg.Hub = watch.NewHub()
		return NewTaskService(cfg)
	}, s
}

var (
	notThere     = look{err: store.ErrNotFound}
	locked       = look{err: fmt.Errorf("read a task: %w", store.ErrUnavailable)}
	running      = look{task: task.Task{ID: "t", State: task.StateRunning, Version: 1}}
	succeededNow = look{task: task.Task{ID: "t", State: task.StateSucceeded, Version: 250}}
)

// An accepted task is waited for through whatever the store and the projection do.
func TestOutcomeIsAwaited(t *testing.T) {
	t.Parallel()
	behind := func(context.Context) error { return fmt.Errorf("wait: %w", projection.ErrBehind) }
	for name, c := range map[string]struct {
		looks   []look
		catchUp func(context.Context) error
		code    codes.Code
	}{
		"at once":                  {[]look{succeededNow}, nil, codes.OK},
		"later":                    {[]look{notThere, running, running, succeededNow}, nil, codes.OK},
		"the store is locked":      {[]look{locked, locked, running, locked, succeededNow}, nil, codes.OK},
		"the projection is behind": {[]look{notThere, locked, notThere, notThere, notThere, running, succeededNow}, behind, codes.OK},
		"it caught up just now":    {[]look{notThere, notThere, running, succeededNow}, nil, codes.OK},
		"not kept any more":        {[]look{notThere}, nil, codes.NotFound},
		"purged while it is read":  {[]look{running, notThere}, nil, codes.NotFound},
		"never":                    {[]look{running}, nil, codes.DeadlineExceeded},
		"behind for ever":          {[]look{notThere}, behind, codes.DeadlineExceeded},
		"a mistake":                {[]look{running, {err: errors.New("no such column")}}, nil, codes.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakes{catchUp: c.catchUp}
			newService, _ := following(t, f, 250, c.looks...)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				ended, err := newService().AwaitOutcome(ctx, "t", nil)
				st, ok := status.FromError(err)
				if !ok {
					st = status.FromContextError(err)
				}
				require.Equal(t, c.code, st.Code(), "%v", err)
				if err == nil {
					require.Equal(t, task.StateSucceeded, ended.State)
				}
			})
		})
	}
}

// unread is a store that nobody may ask.
type unread struct{ store.Store }

// With an end nobody reads the store for the outcome, but where the end brings none.
func TestOutcomeIsPassedOn(t *testing.T) {
	t.Parallel()
	newService, scripted := following(t, &fakes{}, 250, running, succeededNow)
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.cfg.Store = unread{}
		await := func(end *watch.End) (o watch.Outcome, err error) {
			defer end.Close()
			return s.AwaitOutcome(t.Context(), "t", end)
		}
		end, want := s.cfg.Hub.SubscribeEnd("t"), &task.Event{TaskID: "t"}
		go s.cfg.Hub.Ended("t", watch.Outcome{State: task.StateDeadLettered, Event: want})
		o, err := await(end)
		require.NoError(t, err)
		require.Equal(t, task.StateDeadLettered, o.State)
		require.Same(t, want, o.Event)

		s.cfg.Store = scripted
		end = s.cfg.Hub.SubscribeEnd("t")
		go s.cfg.Hub.Wake("t")
		o, err = await(end)
		require.NoError(t, err)
		require.Equal(t, task.StateSucceeded, o.State)

		// No wake-up at all holds nobody up for long.
		o, err = await(s.cfg.Hub.SubscribeEnd("t"))
		require.NoError(t, err)
		require.Equal(t, task.StateSucceeded, o.State)

		s.Stop()
		_, err = await(s.cfg.Hub.SubscribeEnd("t"))
		require.Equal(t, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, reasonOf(t, err))
		require.False(t, s.cfg.Hub.Awaited("t"))
	})
}

// An end is waited for from before its task is published, and only of a task that is new.
func TestSubmittedCallsAwaitTheirEnd(t *testing.T) {
	t.Parallel()
	service, _, _, p := newKeyService(t)
	awaited := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return service.cfg.Hub.Awaited(p.messages[len(p.messages)-1].ID)
	}
	id, end, err := service.SubmitCall(t.Context(), request(t), AnswerOutcome)
	require.NoError(t, err)
	require.Equal(t, id, end.TaskID())
	require.True(t, awaited())
	end.Close()
	require.False(t, awaited())
	for _, a := range []Answer{AnswerAccepted, AnswerStream} {
		_, end, err = service.SubmitCall(t.Context(), request(t), a)
		require.NoError(t, err)
		require.Nil(t, end)
	}
	keyed := request(t)
	keyed.IdempotencyKey = "k"
	id, end, err = service.SubmitCall(t.Context(), keyed, AnswerOutcome)
	require.NoError(t, err)
	require.NotNil(t, end)
	end.Close()
	again, end, err := service.SubmitCall(t.Context(), keyed, AnswerOutcome)
	require.NoError(t, err)
	require.Equal(t, id, again)
	require.Nil(t, end)
	require.False(t, awaited())
	_, end, err = service.SubmitCall(t.Context(), &taskv1.SubmitTaskRequest{Type: "a.b.C"}, AnswerOutcome)
	require.Error(t, err)
	require.Nil(t, end)
}

// Every event is seen once and in order, whatever fails in between.
func TestEventsAreFollowed(t *testing.T) {
	t.Parallel()
	for _, failEvery := range []int{0, 2} {
		newService, s := following(t, &fakes{}, 250, running, running, locked, succeededNow)
		s.failEvery = failEvery
		synctest.Test(t, func(t *testing.T) {
			var seen []int64
			require.NoError(t, newService().Follow(t.Context(), "t", func(_ *task.Task, e *task.NumberedEvent) (bool, error) {
				seen = append(seen, e.Number)
				return false, nil
			}))
			require.Len(t, seen, 250)
			for i, n := range seen {
				require.EqualValues(t, i+1, n)
			}
		})
	}
}

func TestFollowingEndsAsItIsTold(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong")
	for _, want := range []error{nil, wrong, store.ErrUnavailable, store.ErrNotFound} {
		newService, _ := following(t, &fakes{}, 250, succeededNow)
		n := 0
		err := newService().Follow(t.Context(), "t", func(*task.Task, *task.NumberedEvent) (bool, error) {
			n++
			return n == 7 && want == nil, map[bool]error{true: want}[n == 7]
		})
		require.Equal(t, want, err)
		require.Equal(t, 7, n)
	}
	newService, _ := following(t, &fakes{}, 1, running)
	service := newService()
	service.Stop()
	err := service.Follow(t.Context(), "t", func(*task.Task, *task.NumberedEvent) (bool, error) { return false, nil })
	require.Equal(t, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, reasonOf(t, err))
}

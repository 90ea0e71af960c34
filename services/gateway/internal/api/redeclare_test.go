package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
)

func TestAMissingQueueIsDeclaredOnceForAll(t *testing.T) {
	t.Parallel()
	service, _ := newService(t, &fakes{})
	synctest.Test(t, func(t *testing.T) {
		answer, declared := make(chan error), 0
		service.cfg.Redeclare = func(context.Context, string) error {
			declared++
			return <-answer
		}
		const callers = 20
		ended := make(chan error, callers)
		first, hangUp := context.WithCancel(t.Context())
		go func() { ended <- service.redeclare(first, typeDelay) }()
		synctest.Wait()
		for range callers - 1 {
			go func() { ended <- service.redeclare(t.Context(), typeDelay) }()
		}
		synctest.Wait()
		hangUp()
		require.ErrorIs(t, <-ended, context.Canceled, "the others go on")
		refused := errors.New("refused")
		answer <- refused
		for range callers - 1 {
			require.ErrorIs(t, <-ended, refused)
		}
		require.Equal(t, 1, declared)

		// The next one tries anew.
		go func() { ended <- service.redeclare(t.Context(), typeDelay) }()
		answer <- nil
		require.NoError(t, <-ended)
		require.Equal(t, 2, declared)
	})
}

// sent is a stream that keeps what it is given.
type sent struct {
	grpc.ServerStreamingServer[taskv1.WatchTaskResponse]

	context  func() context.Context
	messages []*taskv1.WatchTaskResponse
}

func (s *sent) Context() context.Context { return s.context() }

func (s *sent) Send(m *taskv1.WatchTaskResponse) error {
	s.messages = append(s.messages, m)
	return nil
}

// Nothing of a task is shown in FULL view without its messages.
func TestFullViewNeedsTheType(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{}, func(cfg *Config) { cfg.Catalogue = catalogue.New() })
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued), event(id, 1, 1, task.PhaseSucceeded))
	full, basic := taskv1.TaskView_TASK_VIEW_FULL, taskv1.TaskView_TASK_VIEW_BASIC
	const reason = taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE

	_, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id, View: full})
	requireReason(t, err, codes.Unavailable, reason)
	for name, token := range map[string]string{"snapshot": "", "resumed": resumeToken(id, 0)} {
		stream := &sent{context: t.Context}
		err = service.WatchTask(&taskv1.WatchTaskRequest{TaskId: id, View: full, ResumeToken: token}, stream)
		requireReason(t, err, codes.Unavailable, reason)
		require.Empty(t, stream.messages, name)
		require.NoError(t, service.WatchTask(&taskv1.WatchTaskRequest{TaskId: id, View: basic, ResumeToken: token}, stream))
		require.NotEmpty(t, stream.messages, name)
	}
}

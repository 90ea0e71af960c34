package api

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
)

// What is kept of a retired type's tasks is shown with the names of its messages.
func TestTasksOfARetiredTypeAreShown(t *testing.T) {
	t.Parallel()
	s, kept := newService(t, &fakes{})
	id, c := task.NewID(), task.NewCopy()
	_, err := kept.Apply(t.Context(), []task.Event{
		{
			TaskID: id, Type: typeDelay, Time: time.Now(), Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued, Copy: c},
			Head: &task.Head{CreateTime: time.Now(), Priority: task.PriorityNormal}, Payload: &task.Payload{Bytes: []byte("in"), Size: 2},
		},
		{TaskID: id, Type: typeDelay, Time: time.Now(), Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded, Copy: c}, Message: []byte("out")},
	})
	require.NoError(t, err)
	get := func(ctx context.Context) (*taskv1.Task, error) {
		answer, err := s.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: id, View: taskv1.TaskView_TASK_VIEW_FULL})
		return answer.GetTask(), err
	}
	before, err := get(t.Context())
	require.NoError(t, err)
	_, found := s.cfg.Catalogue.Retire(typeDelay)
	require.True(t, found)
	_, err = get(t.Context())
	require.Equal(t, codes.Unavailable, status.Code(err), "until it is known that it was retired")

	known, err := catalogue.RetiredType(typeDelay, "demo.v1.DelayRequest", "demo.v1.DelayResponse")
	require.NoError(t, err)
	s.cfg.Catalogue.SetRetired(map[string]catalogue.TaskType{typeDelay: known})
	after, err := get(t.Context())
	require.NoError(t, err)
	require.Equal(t, "type.googleapis.com/demo.v1.DelayRequest", after.Payload.TypeUrl)
	require.Equal(t, "in", string(after.Payload.Value))
	require.Equal(t, before.Result.TypeUrl, after.Result.TypeUrl)
	require.Equal(t, "out", string(after.Result.Value))
	_, err = s.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: after.Payload})
	require.Equal(t, codes.NotFound, status.Code(err))
}

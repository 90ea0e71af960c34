package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxLookup bounds the questions of one call whether its repeated submissions are
// known already: their answers save work, no more.
const maxLookup = 2 * time.Second

// known answers a submission whose task id the store has already: with the task,
// or with an error if another task has the id. Without either it is to be
// submitted, also while the store does not answer: should the first message be
// on its way, the start permits see to it that only one of them is carried out.
//
// What else is asked for is not looked at: it was in order when the task was
// accepted.
func (s *TaskService) known(ctx context.Context, lookupEnd time.Time, taskType string, r *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	lookup, cancel := context.WithDeadline(ctx, lookupEnd)
	defer cancel()
	t, err := s.cfg.Store.Task(lookup, r.TaskId)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUnavailable):
		return nil, nil
	case err != nil && lookup.Err() != nil && ctx.Err() == nil:
		return nil, nil
	case err != nil:
		return nil, readError(err)
	}
	return s.repeated(&t, taskType, r.Payload.GetValue())
}

// repeated answers a submission whose id a task has; nil for one of which only its
// worker has told, its QUEUED event being late or lost.
func (s *TaskService) repeated(t *task.Task, taskType string, payload []byte) (*taskv1.SubmitTaskResponse, error) {
	digest := sha256.Sum256(payload)
	switch {
	case t.Type != taskType:
		return nil, conflict(t.ID, "type", "the task with this id is of the type "+t.Type)
	case t.PayloadNumber == 0:
		return nil, nil
	case !bytes.Equal(t.PayloadSHA256, digest[:]):
		return nil, conflict(t.ID, "payload", "the task with this id has another payload")
	}
	return &taskv1.SubmitTaskResponse{Task: taskToProto(t, s.cfg.Names), AlreadySubmitted: true}, nil
}

func conflict(id, field, problem string) error {
	return rpc.Errorf(codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_TASK_ID_CONFLICT,
		"nothing was submitted: %s; repeat the submission of %s as it was, or leave the id out", problem, id).Field(field, problem)
}

package api

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// MaxBatchBytes bounds the payloads of one batch together.
const MaxBatchBytes = 16 << 20

// BatchSubmitTasks implements warren.task.v1.TaskService.
func (s *TaskService) BatchSubmitTasks(ctx context.Context, r *taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error) {
	if err := checkBatch(r); err != nil {
		return nil, err
	}
	call, err := newCall(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := submitting(ctx)
	defer cancel()
	results := make([]*taskv1.BatchSubmitTasksResult, len(r.Requests))
	var subs []*submission
	// positions are those of subs among the requests.
	var positions []int
	for i, item := range r.Requests {
		sub, known, err := s.prepareItem(bounded, call, item)
		if sub != nil {
			subs, positions = append(subs, sub), append(positions, i)
		} else {
			results[i] = result(known, err)
		}
	}
	s.submit(bounded, subs)
	for n, sub := range subs {
		results[positions[n]] = result(&taskv1.SubmitTaskResponse{Task: sub.task}, sub.err)
	}
	noteFirst(ctx, subs)
	return &taskv1.BatchSubmitTasksResponse{Results: results}, nil
}

// checkBatch checks what concerns all requests together.
func checkBatch(r *taskv1.BatchSubmitTasksRequest) error {
	size := 0
	for _, item := range r.Requests {
		size += len(item.GetPayload().GetValue())
	}
	if size <= MaxBatchBytes {
		return nil
	}
	return rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE,
		"nothing was submitted: the payloads have %d bytes together, the limit is %d; send more and smaller batches", size, MaxBatchBytes).
		With("limit_bytes", fmt.Sprint(MaxBatchBytes)).Field("requests", "too large")
}

// prepareItem is prepare for one of many, which nobody has validated.
func (s *TaskService) prepareItem(ctx context.Context, c call, r *taskv1.SubmitTaskRequest) (*submission, *taskv1.SubmitTaskResponse, error) {
	if err := rpc.Validate(r); err != nil {
		return nil, nil, err
	}
	return s.prepare(ctx, c, r)
}

func result(accepted *taskv1.SubmitTaskResponse, err error) *taskv1.BatchSubmitTasksResult {
	if err != nil {
		return &taskv1.BatchSubmitTasksResult{Result: &taskv1.BatchSubmitTasksResult_Error{Error: rpc.StatusOf(err).Proto()}}
	}
	return &taskv1.BatchSubmitTasksResult{Result: &taskv1.BatchSubmitTasksResult_Response{Response: accepted}}
}

// noteFirst has the log say why a submission failed that was in order: the first
// stands for all.
func noteFirst(ctx context.Context, subs []*submission) {
	for _, sub := range subs {
		if sub.err != nil {
			rpc.Note(ctx, sub.err)
			return
		}
	}
}

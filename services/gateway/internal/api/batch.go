package api

import (
	"bytes"
	"context"
	"fmt"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

const (
	// MaxBatchBytes bounds the payloads of one batch together.
	MaxBatchBytes = 16 << 20
	// MaxBatchTasks bounds the tasks of one batch, as the rule in its proto does.
	MaxBatchTasks = 1000
)

// BatchSubmitTasks implements warren.task.v1.TaskService.
func (s *TaskService) BatchSubmitTasks(ctx context.Context, r *taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error) {
	if err := checkBatch(r); err != nil {
		return nil, err
	}
	call, err := newCall(ctx)
	if err != nil {
		return nil, err
	}
	b := s.submitBatch(ctx, call, r.Requests)
	noteFirst(ctx, b.subs)
	results := b.finish()
	s.metrics.batchAnswered(ctx, r.Requests, results)
	return &taskv1.BatchSubmitTasksResponse{Results: results}, nil
}

// submitBatch submits what is asked for, each by itself.
func (s *TaskService) submitBatch(ctx context.Context, c call, requests []*taskv1.SubmitTaskRequest) *batch {
	bounded, cancel := submitting(ctx)
	defer cancel()
	b := &batch{
		results: make([]*taskv1.BatchSubmitTasksResult, len(requests)),
		byID:    map[string]*submission{}, byKey: map[submissionKey]*submission{},
	}
	for i, r := range requests {
		sub, known, err := s.prepareItem(bounded, c, r)
		if sub == nil {
			b.results[i] = result(known, err)
			continue
		}
		sub.batched = true
		b.add(i, sub)
	}
	s.submitTraced(bounded, b.subs)
	return b
}

// batch is what becomes of the requests of one call.
type batch struct {
	results []*taskv1.BatchSubmitTasksResult
	subs    []*submission
	// of has the submission of each request that has one, by their positions.
	of []placed
	// byID are those whose callers gave an id.
	byID map[string]*submission
	// byKey are those that have idempotency keys.
	byKey map[submissionKey]*submission
}

type placed struct {
	position int
	sub      *submission
	// repeat says that it is another request's, too, that came before.
	repeat bool
}

// add adds the submission of a request. One with the id of another is submitted once
// if it is the same, and else refused.
func (b *batch) add(position int, sub *submission) {
	m := sub.message
	if m.Resend {
		if first := b.byID[m.ID]; first == nil {
			b.byID[m.ID] = sub
		} else if first.message.Type != m.Type || !bytes.Equal(first.message.Payload, m.Payload) {
			b.results[position] = result(nil, conflict(m.ID, "task_id", "another task of this batch has the same id"))
			return
		} else {
			b.of = append(b.of, placed{position, first, true})
			return
		}
	}
	if sub.key != nil {
		if first := b.byKey[*sub.key]; first != nil {
			b.of = append(b.of, placed{position, first, true})
			return
		}
		b.byKey[*sub.key] = sub
	}
	b.subs, b.of = append(b.subs, sub), append(b.of, placed{position, sub, false})
}

// finish gives the results once all is submitted.
func (b *batch) finish() []*taskv1.BatchSubmitTasksResult {
	for _, p := range b.of {
		b.results[p.position] = result(&taskv1.SubmitTaskResponse{Task: p.sub.task, AlreadySubmitted: p.sub.known || p.repeat}, p.sub.err)
	}
	return b.results
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
	// A thousand of them must fit into what clients receive by default, 4 MiB.
	accepted.Task.Labels, accepted.Task.Failure = nil, nil
	return &taskv1.BatchSubmitTasksResult{Result: &taskv1.BatchSubmitTasksResult_Response{Response: accepted}}
}

// noteFirst has the log say why a submission failed that was in order: the first
// stands for all. It says whether one did.
func noteFirst(ctx context.Context, subs []*submission) bool {
	for _, sub := range subs {
		if sub.err != nil {
			rpc.Note(ctx, sub.err)
			return true
		}
	}
	return false
}

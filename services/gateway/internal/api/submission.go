package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// submission is a task on its way into its queue.
type submission struct {
	message *broker.TaskMessage
	// at is when it is to be put into its queue; zero is now.
	at time.Time
	// key is nil without an idempotency key.
	key *submissionKey
	// queued is its QUEUED event.
	queued *task.Event
	// limit is the queue's; leave is called once it is known whether the queue has
	// the message.
	limit *taskv1.QueueLimit
	leave func(published bool)
	span  trace.Span
	// created are the headers of who wants this task, if it brings its own, and
	// batched says that others of its call are none of its business.
	created map[string]string
	batched bool
	// check is asked right before the message is sent, nil is always.
	check broker.Check
	// receipt is for the QUEUED event, once the message is in its queue.
	receipt *broker.Receipt

	// task is what was accepted, err why nothing was, once that is known; known says
	// that the task was there already.
	task  *taskv1.Task
	known bool
	err   error
}

// prepare checks what is asked for and makes a task of it; or it gives the answer,
// if the task is known already.
func (s *TaskService) prepare(ctx context.Context, c call, r *taskv1.SubmitTaskRequest) (*submission, *taskv1.SubmitTaskResponse, error) {
	taskType, err := s.taskType(r.Type)
	if err != nil {
		return nil, nil, err
	}
	if err := s.checkPayload(taskType, r); err != nil {
		return nil, nil, err
	}
	if r.TaskId != "" {
		if known, err := s.known(ctx, c.lookupEnd, taskType.Name, r); known != nil || err != nil {
			return nil, known, err
		}
	}
	at, err := scheduleTime(r, s.now())
	if err != nil {
		return nil, nil, err
	}
	sub, err := s.submission(taskType, r, time.Now(), at)
	if err != nil {
		return nil, nil, err
	}
	sub.message.Metadata, sub.key = c.metadata, keyOf(taskType.Name, r)
	if err := sub.message.CheckSize(); err != nil {
		return nil, nil, tooLarge(sub.message)
	}
	return sub, nil, nil
}

// submission makes a task of what is asked for and of what is in force for its
// type, which is put into its queue at a time; zero is now.
func (s *TaskService) submission(t catalogue.TaskType, r *taskv1.SubmitTaskRequest, now, at time.Time) (*submission, error) {
	options, rules, ok := s.cfg.Types.Effective(t.Name)
	if !ok {
		return nil, s.unknownType(t.Name)
	}
	if _, err := rules.Submission(r.Timeout, r.Retry); err != nil {
		return nil, badField(err)
	}
	now = now.Truncate(time.Microsecond)
	expire, err := expireTime(r, options, now, at)
	if err != nil {
		return nil, err
	}
	m := &broker.TaskMessage{
		ID: strings.ToLower(r.TaskId), Type: t.Name, Payload: r.Payload.GetValue(), Run: 1, Copy: task.NewCopy(), Resend: r.TaskId != "",
		CreateTime: now, RunTime: now, Priority: int(r.Priority), Labels: r.Labels,
		// The broker gives up by itself only what is the one message of its run.
		ExpireTime: expire, ExpireInBroker: r.TaskId == "", Timeout: r.Timeout, Retry: r.Retry,
	}
	if m.ID == "" {
		m.ID = task.NewID()
	}
	if m.Priority == 0 {
		m.Priority = int(options.GetPriority())
	}
	sub := &submission{message: m, at: at, limit: options.GetQueueLimit()}
	if r.Traceparent != "" {
		sub.created = map[string]string{"traceparent": r.Traceparent}
	}
	return sub, nil
}

// expireTime is the one that was asked for, else the type's own, which counts from
// the time of a task for later; zero is never.
func expireTime(r *taskv1.SubmitTaskRequest, options *taskv1.TaskOptions, now, at time.Time) (time.Time, error) {
	switch {
	case r.ExpireTime == nil && options.GetExpiry() == nil:
		return time.Time{}, nil
	case r.ExpireTime == nil:
		return latest(now, at).Add(options.GetExpiry().AsDuration()), nil
	}
	expire, err := timeOf("expire_time", r.ExpireTime)
	if err != nil {
		return time.Time{}, err
	}
	return expire, badExpiry(expire, now, at)
}

// timeOf is the time that a field asks for, as the store keeps it.
func timeOf(field string, asked *timestamppb.Timestamp) (time.Time, error) {
	if asked.CheckValid() != nil {
		return time.Time{}, badField(&policy.FieldError{Field: field, Problem: "must be a valid google.protobuf.Timestamp"})
	}
	return asked.AsTime().Truncate(time.Microsecond), nil
}

// badExpiry says why a task can't expire at a time.
func badExpiry(expire, now, at time.Time) error {
	var problem string
	switch {
	case !expire.After(now):
		problem = "must be later than now, " + now.UTC().Format(time.RFC3339Nano)
	case !expire.After(at):
		problem = "must be later than the time at which the task is put into its queue, " + at.UTC().Format(time.RFC3339Nano)
	default:
		return nil
	}
	return badField(&policy.FieldError{Field: "expire_time", Problem: problem})
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// badField says which field of a request makes no sense.
func badField(err error) error {
	var bad *policy.FieldError
	if !errors.As(err, &bad) {
		return rpc.Internal(err)
	}
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request is not valid: %s", valid(bad.Error())).
		Field(bad.Field, valid(bad.Problem))
}

func (s *TaskService) taskType(name string) (catalogue.TaskType, error) {
	t, ok := s.cfg.Catalogue.Type(name)
	if ok {
		return t, nil
	}
	if !s.cfg.CatalogueLoaded() {
		return t, rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED,
			"nothing was submitted: this gateway has not loaded its task types yet; call again")
	}
	return t, s.unknownType(name)
}

func (s *TaskService) unknownType(name string) *rpc.Error {
	return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND,
		"the task type %q is not known: no worker has registered it, or it was retired; start one that serves it, or check the name: it is a method's full name, package.Service.Method", name).
		Field("type", "unknown task type")
}

func (s *TaskService) checkPayload(t catalogue.TaskType, r *taskv1.SubmitTaskRequest) error {
	if size := len(r.Payload.GetValue()); size > s.cfg.MaxPayloadBytes {
		return rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE,
			"the payload has %d bytes, the limit is %d; send a reference to large data instead", size, s.cfg.MaxPayloadBytes).
			With("limit_bytes", fmt.Sprint(s.cfg.MaxPayloadBytes)).Field("payload", "too large")
	}
	return badPayload(t.ValidateAny(r.Payload))
}

// badPayload says what is wrong with a payload, with paths into it.
func badPayload(err error) error {
	var bad *catalogue.PayloadError
	if errors.As(err, &bad) {
		return bad.Answer("payload.value")
	}
	return err
}

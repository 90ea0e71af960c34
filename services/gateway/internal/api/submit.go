package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

const (
	// maxSubmit bounds a submission whose caller sets no deadline.
	maxSubmit = 10 * time.Second
	// maxReconnect is how long a submission waits for a broker that is away.
	maxReconnect = 2 * time.Second
)

// SubmitTask implements warren.task.v1.TaskService.
func (s *TaskService) SubmitTask(ctx context.Context, r *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	taskType, err := s.taskType(r.Type)
	if err != nil {
		return nil, err
	}
	if err := s.checkPayload(taskType, r); err != nil {
		return nil, err
	}
	m := &broker.TaskMessage{
		ID: task.NewID(), Type: taskType.Name, Payload: r.Payload.GetValue(), Run: 1, Copy: task.NewCopy(),
		CreateTime: time.Now().Truncate(time.Microsecond), Priority: int(r.Priority), Labels: r.Labels,
	}
	if m.Priority == 0 {
		m.Priority = int(taskType.Priority())
	}
	ctx, span, headers := telemetry.StartPublish(ctx, s.tracer, telemetry.Message{
		Exchange: s.cfg.Names.Tasks(), TaskID: m.ID, TaskType: m.Type, BodySize: len(m.Payload),
	})
	defer span.End()
	m.Trace = headers
	// A caller who hangs up does not stop a submission halfway: its deadline
	// bounds it, not its cancellation.
	bounded, cancel := beforeDeadline(ctx, maxSubmit)
	defer cancel()
	deadline, _ := bounded.Deadline()
	work, cancelWork := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancelWork()
	event := queued(m)
	if err := s.submit(work, m, event); err != nil {
		telemetry.Fail(span, "UNAVAILABLE", err.Error())
		return nil, err
	}
	return &taskv1.SubmitTaskResponse{Task: accepted(event)}, nil
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
	return t, rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND,
		"no worker has ever registered the task type %q; start one that serves it, or check the name: it is a method's full name, package.Service.Method", name).
		Field("type", "unknown task type")
}

func (s *TaskService) checkPayload(t catalogue.TaskType, r *taskv1.SubmitTaskRequest) error {
	if size := len(r.Payload.GetValue()); size > s.cfg.MaxPayloadBytes {
		return rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE,
			"the payload has %d bytes, the limit is %d; send a reference to large data instead", size, s.cfg.MaxPayloadBytes).
			With("limit_bytes", fmt.Sprint(s.cfg.MaxPayloadBytes)).Field("payload", "too large")
	}
	err := t.ValidateAny(r.Payload)
	if err == nil {
		return nil
	}
	reason, field := taskv1.ErrorReason_ERROR_REASON_PAYLOAD_UNDECODABLE, "payload.value"
	if errors.Is(err, catalogue.ErrPayloadType) {
		reason, field = taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TYPE_MISMATCH, "payload.type_url"
	}
	var bad *catalogue.PayloadError
	if errors.As(err, &bad) && bad.Field != "" {
		field = "payload." + bad.Field
	}
	return rpc.Errorf(codes.InvalidArgument, reason, "%s", valid(err.Error())).Field(field, valid(err.Error()))
}

// submit has the task and then its QUEUED event confirmed. In this order a
// crash in between leaves neither an accepted id unknown nor a row that stays
// QUEUED for ever.
func (s *TaskService) submit(ctx context.Context, m *broker.TaskMessage, event *task.Event) error {
	ready, cancel := context.WithTimeout(ctx, maxReconnect)
	defer cancel()
	if err := s.cfg.Publisher.AwaitReady(ready); err != nil {
		return notSubmitted(err)
	}
	if err := s.publish(ctx, m); err != nil {
		if errors.Is(err, broker.ErrNotSent) || errors.Is(err, broker.ErrUnroutable) {
			return notSubmitted(err)
		}
		return submissionUnknown(m.ID, err)
	}
	receipt, err := s.cfg.Status.Write(ctx, event)
	if err == nil {
		err = receipt.Wait(ctx)
	}
	if err != nil {
		return submissionUnknown(m.ID, err)
	}
	return nil
}

// publish tries again with the queue declared anew if it was missing: somebody
// has deleted it, or the broker was set up anew.
func (s *TaskService) publish(ctx context.Context, m *broker.TaskMessage) error {
	err := s.cfg.Publisher.PublishTask(ctx, m)
	if !errors.Is(err, broker.ErrUnroutable) {
		return err
	}
	if err := s.redeclare(ctx, m.Type); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrUnroutable, err)
	}
	return s.cfg.Publisher.PublishTask(ctx, m)
}

// redeclare declares a task type's queue, once for all who wait for it. That
// goes on when who began it has given up.
func (s *TaskService) redeclare(ctx context.Context, taskType string) error {
	declared := s.redeclaring.DoChan(taskType, func() (any, error) {
		s.cfg.Logger.WarnContext(ctx, "the queue of a known task type is missing, declaring it", "type", taskType)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxSubmit)
		defer cancel()
		return nil, s.cfg.Redeclare(ctx, taskType)
	})
	select {
	case d := <-declared:
		return d.Err
	case <-ctx.Done():
		return fmt.Errorf("declare the queue of %s: %w", taskType, context.Cause(ctx))
	}
}

func notSubmitted(cause error) error {
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED,
		"nothing was submitted: RabbitMQ does not take messages now; call again").Because(cause)
}

func submissionUnknown(id string, cause error) error {
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN,
		"RabbitMQ did not confirm the task %s in time, so it may or may not have been submitted: GetTask shows it if it was and all went well, while NOT_FOUND is no proof yet that it was not; submitting again may run the work twice", id).
		With("task_id", id).Because(cause)
}

func queued(m *broker.TaskMessage) *task.Event {
	digest := sha256.Sum256(m.Payload)
	payload := &task.Payload{Bytes: m.Payload, Size: int64(len(m.Payload)), SHA256: digest[:]}
	if len(m.Payload) > task.MaxPayloadInStatus {
		payload.Bytes, payload.Omitted = nil, true
	}
	return &task.Event{
		TaskID: m.ID, Type: m.Type, Time: m.CreateTime,
		Key:     task.Key{Run: m.Run, Attempt: 1, Phase: task.PhaseQueued, Copy: m.Copy},
		Head:    &task.Head{CreateTime: m.CreateTime, Priority: m.Priority, Labels: m.Labels, TraceID: telemetry.TraceIDOf(m.Trace)},
		Payload: payload,
	}
}

// accepted is the task before its first event, so that a watch from its resume
// token shows all of them.
func accepted(e *task.Event) *taskv1.Task {
	return &taskv1.Task{
		TaskId: e.TaskID, Type: e.Type, State: taskv1.TaskState_TASK_STATE_QUEUED, Run: int32(e.Key.Run),
		Priority: taskv1.Priority(e.Head.Priority), Labels: e.Head.Labels,
		CreateTime: timestamppb.New(e.Time), UpdateTime: timestamppb.New(e.Time),
		ResumeToken: resumeToken(e.TaskID, 0), PayloadSize: e.Payload.Size, PayloadSha256: e.Payload.SHA256,
		PayloadOmitted: e.Payload.Omitted, TraceId: e.Head.TraceID,
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

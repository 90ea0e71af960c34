package api

import (
	"crypto/sha256"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// queued is the event that tells of a submission.
func queued(m *broker.TaskMessage) *task.Event {
	digest := sha256.Sum256(m.Payload)
	payload := &task.Payload{Bytes: m.Payload, Size: int64(len(m.Payload)), SHA256: digest[:]}
	if len(m.Payload) > task.MaxPayloadInStatus {
		payload.Bytes, payload.Omitted = nil, true
	}
	return &task.Event{
		TaskID: m.ID, Type: m.Type, Time: m.RunTime,
		Key:     task.Key{Run: m.Run, Attempt: 1, Phase: task.PhaseQueued, Copy: m.Copy},
		Head:    m.Head(),
		Payload: payload,
	}
}

// accepted is the task before its first event, so that a watch from its resume
// token shows all of them.
func accepted(e *task.Event, names broker.Names) *taskv1.Task {
	return &taskv1.Task{
		TaskId: e.TaskID, Type: e.Type, Queue: names.Work(e.Type), State: taskv1.TaskState_TASK_STATE_QUEUED, Run: int32(e.Key.Run),
		Priority: taskv1.Priority(e.Head.Priority), Labels: e.Head.Labels,
		CreateTime: timestamppb.New(e.Time), UpdateTime: timestamppb.New(e.Time),
		ResumeToken: resumeToken(e.TaskID, 0), PayloadSize: e.Payload.Size, PayloadSha256: e.Payload.SHA256,
		PayloadOmitted: e.Payload.Omitted, TraceId: e.Head.TraceID, ExpireTime: timestamp(e.Head.ExpireTime),
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

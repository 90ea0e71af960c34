package callmeta

import (
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Prefix begins every key that is Warren's.
const Prefix = "warren-"

// The keys of a call.
const (
	KeyMode               = Prefix + "mode"
	KeyPriority           = Prefix + "priority"
	KeyDelay              = Prefix + "delay"
	KeyExpire             = Prefix + "expire"
	KeyLabels             = Prefix + "labels"
	KeyMaxAttempts        = Prefix + "max-attempts"
	KeyIdempotencyKey     = Prefix + "idempotency-key"
	KeyCancelOnDisconnect = Prefix + "cancel-on-disconnect"
	KeyHeaders            = Prefix + "headers"
)

// The keys of what is told about a task: the first to the caller, in the header of
// the response, and all of them to handlers behind a forwarding worker.
const (
	KeyTaskID  = Prefix + "task-id"
	KeyRun     = Prefix + "run"
	KeyAttempt = Prefix + "attempt"
)

// Mode is when a call is answered.
type Mode int

// The modes.
const (
	// ModeSync answers when the task has ended.
	ModeSync Mode = iota
	// ModeAsync answers when the task is accepted.
	ModeAsync
)

// Bounds of what a call may ask for, those of SubmitTask.
const (
	MaxDelay            = 10 * 365 * 24 * time.Hour
	MaxLabels           = 32
	MaxLabelKeyBytes    = 63
	MaxLabelValueBytes  = 256
	MaxAttempts         = 1000
	MaxIdempotencyBytes = 256
)

// Options are what a call asks for. The zero value asks for nothing: the task is
// carried out now, by its type's own options, and the call waits for it.
type Options struct {
	Mode Mode
	// Priority is from 1 to 9; 0 is the task type's own.
	Priority taskv1.Priority
	// Delay is the time after which the task is put into its queue.
	Delay time.Duration
	// ExpireAfter is the time from now after which no attempt starts; 0 is none. At
	// most one of it and ExpireTime is set.
	ExpireAfter time.Duration
	// ExpireTime is the time after which no attempt starts; zero is none.
	ExpireTime time.Time
	Labels     map[string]string
	// MaxAttempts bounds the attempts of the run; 0 is the task type's own bound.
	MaxAttempts    int32
	IdempotencyKey string
	// CancelOnDisconnect has the task cancelled when its caller cancels the call.
	CancelOnDisconnect bool
	// LateHeaders holds the response's header for those of the handler.
	LateHeaders bool
}

// Request is the submission that the options ask for, at the time now.
func (o *Options) Request(taskType string, payload *anypb.Any, now time.Time) *taskv1.SubmitTaskRequest {
	r := &taskv1.SubmitTaskRequest{
		Type: taskType, Payload: payload, Priority: o.Priority, Labels: o.Labels, IdempotencyKey: o.IdempotencyKey,
	}
	if o.Delay != 0 {
		r.Delay = durationpb.New(o.Delay)
	}
	switch {
	case !o.ExpireTime.IsZero():
		r.ExpireTime = timestamppb.New(o.ExpireTime)
	case o.ExpireAfter != 0:
		r.ExpireTime = timestamppb.New(now.Add(o.ExpireAfter))
	}
	if o.MaxAttempts != 0 {
		r.Retry = &taskv1.RetryPolicy{MaxAttempts: o.MaxAttempts}
	}
	return r
}

package client

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
)

// Priorities for [WithPriority]; every value from 1 to 9 is allowed.
const (
	PriorityLow      = taskv1.Priority_PRIORITY_LOW
	PriorityNormal   = taskv1.Priority_PRIORITY_NORMAL
	PriorityHigh     = taskv1.Priority_PRIORITY_HIGH
	PriorityCritical = taskv1.Priority_PRIORITY_CRITICAL
)

// callOption is an option of a durable call. To grpc it is none.
type callOption struct {
	grpc.EmptyCallOption

	apply func(*durableCall)
}

func option(apply func(*durableCall)) grpc.CallOption { return callOption{apply: apply} }

// WithPriority sets the task's priority, from 1 to 9, e.g. [PriorityHigh]. Default is
// the task type's own.
func WithPriority(p taskv1.Priority) grpc.CallOption {
	return option(func(c *durableCall) { c.asks.Priority = p })
}

// WithDelay puts the task into its queue after d, at most 10 years. Default is now.
func WithDelay(d time.Duration) grpc.CallOption {
	return option(func(c *durableCall) { c.asks.Delay = d })
}

// WithExpireAfter has no attempt start when d has passed. Default is the task
// type's own expiry.
func WithExpireAfter(d time.Duration) grpc.CallOption {
	return option(func(c *durableCall) { c.asks.ExpireAfter, c.asks.ExpireTime = d, time.Time{} })
}

// WithExpireTime has no attempt start after t. Default is the task type's own expiry.
func WithExpireTime(t time.Time) grpc.CallOption {
	return option(func(c *durableCall) { c.asks.ExpireAfter, c.asks.ExpireTime = 0, t })
}

// WithLabel adds a label, to find the task by. At most 32; a key is up to 63 of
// a-z A-Z 0-9 . _ / -, a value up to 256 bytes.
func WithLabel(key, value string) grpc.CallOption {
	return WithLabels(map[string]string{key: value})
}

// WithLabels adds labels, as [WithLabel] does.
func WithLabels(labels map[string]string) grpc.CallOption {
	return option(func(c *durableCall) {
		if c.asks.Labels == nil {
			c.asks.Labels = make(map[string]string, len(labels))
		}
		maps.Copy(c.asks.Labels, labels)
	})
}

// WithMaxAttempts bounds the attempts of the task, at most by the task type's own
// bound, which is the default. With 1 a call fails as a direct one would.
func WithMaxAttempts(n int32) grpc.CallOption {
	return option(func(c *durableCall) { c.asks.MaxAttempts = n })
}

// WithIdempotencyKey makes calls with the same key, method and request one task, for
// 24 hours: a second one gets the answer of the first, whether that has ended or not.
// A call that was cut off is then joined again by itself. At most 256 bytes. It needs
// the gateway's store.
func WithIdempotencyKey(key string) grpc.CallOption {
	return option(func(c *durableCall) { c.asks.IdempotencyKey = key })
}

// Async has the call answered as soon as the task is accepted, with an empty message,
// or an empty stream. [Submit] is the same with a handle of the task.
func Async() grpc.CallOption {
	return option(func(c *durableCall) { c.asks.Mode = callmeta.ModeAsync })
}

// CancelOnDisconnect has the task cancelled if the call is cancelled or cut off. The
// call's deadline cancels nothing: by default, and with this too, the task goes on.
func CancelOnDisconnect() grpc.CallOption {
	return option(func(c *durableCall) { c.asks.CancelOnDisconnect = true })
}

// LateHeaders holds the response's header until the handler's own headers are there.
// By default they come as trailers, as the header goes out with the task's id when
// the task is accepted; with an idempotency key they are held anyway.
func LateHeaders() grpc.CallOption {
	return option(func(c *durableCall) { c.asks.LateHeaders = true })
}

// TaskID writes the task's id into id: of a unary call when that returns, also with
// an error, of a stream with its first message or header. It is left alone if the id
// is not known, as when nothing was submitted.
func TaskID(id *string) grpc.CallOption {
	return option(func(c *durableCall) { c.tell = append(c.tell, func(known string) { *id = known }) })
}

// OnTaskID calls f once with the task's id, as soon as that is there, while the call
// still waits. f must not block, and may be called on any goroutine, though never
// after a unary call has returned. A client of [FromConn] calls it no sooner than
// [TaskID] would.
func OnTaskID(f func(taskID string)) grpc.CallOption {
	return option(func(c *durableCall) { c.early = append(c.early, f) })
}

// ownPrefix begins the methods of Warren's own services.
const ownPrefix = "/warren."

// durableCall is what the options of a call ask for.
type durableCall struct {
	// durable is false for a method of Warren's own, or of gRPC's.
	durable bool
	asks    callmeta.Options
	// tell are called on the caller's goroutine, early as soon as possible.
	tell, early []func(taskID string)
	observer    *observer
	// submit takes the call's place.
	submit submitFunc
}

// prepare reads the options of a call, and returns all of them, the defaults first.
func (c *Client) prepare(method string, opts []grpc.CallOption) (*durableCall, []grpc.CallOption, error) {
	call := &durableCall{durable: !strings.HasPrefix(method, ownPrefix) && !strings.HasPrefix(method, "/grpc.")}
	if !call.durable {
		for _, o := range opts {
			if _, ours := o.(callOption); ours {
				return nil, nil, status.Errorf(codes.InvalidArgument,
					"%s is no durable call: the options of one have no effect on it; set the fields of its request", method)
			}
		}
		return call, opts, nil
	}
	if len(c.defaults) > 0 {
		opts = slices.Concat(c.defaults, opts)
	}
	for _, o := range opts {
		if ours, ok := o.(callOption); ok {
			ours.apply(call)
		}
	}
	if len(call.tell)+len(call.early) > 0 {
		call.observer = &observer{early: call.early}
	}
	return call, opts, nil
}

// outgoing adds what is asked for to the metadata that goes out, in place of what the
// caller's context has of it.
func (c *durableCall) outgoing(ctx context.Context) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx)
	if md == nil {
		md = metadata.MD{}
	}
	c.asks.Set(md)
	return metadata.NewOutgoingContext(ctx, md)
}

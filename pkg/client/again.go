package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/retry"
)

const (
	// someTries and manyTries bound the tries that follow each other closely: the one
	// of who has nothing to lose by failing, half a second and more, the other of who
	// joins a call again or ends a doubt, as long as a gateway needs to restart.
	someTries, manyTries = 5, 10
	// longTry is how long a try lasts that others don't follow closely: longer than a
	// gateway takes for a submission, 10 s, of which it then does not know.
	longTry = 15 * time.Second

	minBackoff, maxBackoff = 50 * time.Millisecond, 2 * time.Second

	// domain is that of the ErrorInfos of Warren.
	domain = "warren"
)

// backoff is the wait before another try, half of it by chance. The zero value is
// ready.
type backoff struct{ last time.Duration }

// pause waits; false says that ctx has ended.
func (b *backoff) pause(ctx context.Context) bool {
	b.last = min(max(2*b.last, minBackoff), maxBackoff)
	return retry.Pause(ctx, b.last/2+rand.N(b.last/2))
}

// tries says whether another try follows one that began at a time.
type tries struct {
	n int
	backoff
}

func (t *tries) another(ctx context.Context, began time.Time, most int) bool {
	if time.Since(began) > longTry {
		*t = tries{}
	}
	t.n++
	return t.n < most && t.pause(ctx)
}

// invoke calls a method, and again where that can't make a second task.
func (c *Client) invoke(ctx context.Context, method string, args, reply any, call *durableCall, opts []grpc.CallOption) error {
	ctx = call.outgoing(ctx)
	md, _ := metadata.FromOutgoingContext(ctx)
	keyed, most := len(md[callmeta.KeyIdempotencyKey]) > 0, someTries
	if keyed {
		most = manyTries
	}
	defer call.observer.leave()
	ctx = call.observed(ctx)
	var header metadata.MD
	opts = append(slices.Clone(opts), grpc.Header(&header))
	for t := new(tries); ; {
		began := time.Now()
		header = nil
		err := c.conn.Invoke(ctx, method, args, reply, opts...)
		call.seen(header)
		if err == nil || !repeatable(err, header, keyed) || !t.another(ctx, began, most) {
			return err
		}
	}
}

// repeatable says whether a durable call that failed can be called again, and stays
// one task. A header with a task's id belongs to a task that was accepted: with it the
// error is the task's own, whatever it says, unless the gateway is stopping.
func repeatable(err error, header metadata.MD, keyed bool) bool {
	if status.Code(err) != codes.Unavailable {
		return false
	}
	accepted := taskIDOf(header) != ""
	switch info := infoOf(err); info.GetReason() {
	case reasonNotSubmitted:
		return !accepted
	case reasonShuttingDown:
		return keyed
	default:
		return keyed && !accepted
	}
}

// The reasons that are looked at.
var (
	reasonNotSubmitted      = nameOf(taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED)
	reasonSubmissionUnknown = nameOf(taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN)
	reasonShuttingDown      = nameOf(taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
	reasonTaskCancelled     = nameOf(taskv1.ErrorReason_ERROR_REASON_TASK_CANCELLED)
)

// nameOf is a reason as an ErrorInfo spells it.
func nameOf(r taskv1.ErrorReason) string { return r.String()[len("ERROR_REASON_"):] }

// infoOf is Warren's ErrorInfo of an error, nil if it has none.
func infoOf(err error) *errdetails.ErrorInfo {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == domain {
			return info
		}
	}
	return nil
}

// taskIDKey is the metadata of ErrorInfos that has a task's id.
const taskIDKey = "task_id"

// TaskIDOf is the id of the task that an error of a call or submission is about, if
// it says so, else empty: the task that may have been submitted (SUBMISSION_UNKNOWN),
// goes on (SHUTTING_DOWN), or has the idempotency key (IDEMPOTENCY_KEY_CONFLICT).
func TaskIDOf(err error) string { return infoOf(err).GetMetadata()[taskIDKey] }

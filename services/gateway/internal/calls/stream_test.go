package calls

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/task"
)

// An execution of the task.
var (
	first     = task.Key{Run: 1, Attempt: 1, Delivery: 1, Copy: task.Copy{1}}
	delivered = task.Key{Run: 1, Attempt: 1, Delivery: 2, Copy: task.Copy{1}}
	second    = task.Key{Run: 1, Attempt: 2, Delivery: 2, Copy: task.Copy{1}}
	resent    = task.Key{Run: 1, Attempt: 1, Delivery: 1, Copy: task.Copy{2}}
	replayed  = task.Key{Run: 2, Attempt: 1, Delivery: 1, Copy: task.Copy{3}}
)

func in(phase task.Phase, k task.Key) task.Key {
	k.Phase = phase
	return k
}

// message is an execution's n-th.
func message(k task.Key, n int32) task.Event {
	k = in(task.PhaseMessage, k)
	k.Sequence = int64(n)
	b, _ := proto.Marshal(&demov1.ContactSheetResponse{Placed: n, Total: int32(k.Delivery)})
	return task.Event{Key: k, Message: b}
}

func ending(phase task.Phase, k task.Key) task.Event {
	e := task.Event{TaskID: taskID, Key: in(phase, k)}
	if phase != task.PhaseSucceeded {
		e.Failure = &task.Failure{Code: int(codes.DataLoss), Message: "failed"}
	}
	return e
}

// live is a history that is seen as it happens; after the fact it is seen with the
// task as it is at the end.
func live(events ...task.Event) (steps []step) {
	t := task.Task{ID: taskID}
	for _, e := range events {
		e.TaskID, e.Type = taskID, "demo.v1.ImageService.ContactSheet"
		t.Apply(&e)
		steps = append(steps, step{t, e})
	}
	return steps
}

func past(events ...task.Event) []step {
	steps := live(events...)
	for i := range steps {
		steps[i].task = steps[len(steps)-1].task
	}
	return steps
}

func last(steps []step) step { return steps[len(steps)-1] }

func started(k task.Key) task.Event { return task.Event{Key: in(task.PhaseStarted, k)} }

func toRetry(k task.Key) task.Event {
	e := ending(task.PhaseRetrying, k)
	e.NextAttempt = k.Attempt + 1
	return e
}

func TestStreamOfSeveralExecutions(t *testing.T) {
	t.Parallel()
	lost := task.Event{Key: in(task.PhaseLost, first)}
	restarted := []task.Event{
		started(first), message(first, 1), message(first, 2), lost,
		started(delivered), message(delivered, 1), message(delivered, 2), message(delivered, 3), ending(task.PhaseSucceeded, delivered),
	}
	again := []task.Event{
		started(first), message(first, 1), toRetry(first), started(second), message(second, 1), message(second, 2), ending(task.PhaseSucceeded, second),
	}
	twice := []task.Event{
		started(first), message(first, 1), started(resent), message(resent, 1), message(first, 2), ending(task.PhaseSucceeded, first),
	}
	givenUp := []task.Event{started(first), message(first, 1), ending(task.PhaseDeadLettered, first)}
	rerun := append(append([]task.Event{}, givenUp...), started(replayed), message(replayed, 1), ending(task.PhaseSucceeded, replayed))
	corrected := append(append([]task.Event{}, givenUp...), message(first, 2), ending(task.PhaseSucceeded, first))
	// A worker that was cut off, and given up, has done it all the same.
	held := []task.Event{started(first), message(first, 1), lost, message(first, 2), ending(task.PhaseSucceeded, first)}
	overtaken := []task.Event{
		started(first), started(delivered), toRetry(delivered), started(second), message(first, 1), message(first, 2), ending(task.PhaseSucceeded, first),
	}
	// It is read when another worker has begun, but the first one succeeds.
	late := past(started(first), message(first, 1), message(first, 2), started(delivered))
	late = append(late, last(live(started(first), message(first, 1), message(first, 2), started(delivered), ending(task.PhaseSucceeded, first))))
	for name, c := range map[string]struct {
		steps []step
		want  []int32
		code  codes.Code
	}{
		"one":                              {live(started(first), message(first, 1), message(first, 2), ending(task.PhaseSucceeded, first)), []int32{1, 2}, codes.OK},
		"empty":                            {live(started(first), ending(task.PhaseSucceeded, first)), nil, codes.OK},
		"failed before a message":          {live(started(first), ending(task.PhaseDeadLettered, first)), nil, codes.DataLoss},
		"failed after a message":           {live(givenUp...), []int32{1}, codes.DataLoss},
		"cancelled after a message":        {live(started(first), message(first, 1), ending(task.PhaseCancelled, first)), []int32{1}, codes.Canceled},
		"tried again before a message":     {live(started(first), toRetry(first), started(second), message(second, 1), ending(task.PhaseSucceeded, second)), []int32{1}, codes.OK},
		"tried again after a message":      {live(again...), []int32{1}, codes.Aborted},
		"given back after a message":       {live(started(first), message(first, 1), task.Event{Key: in(task.PhaseReleased, first)}, started(delivered)), []int32{1}, codes.Aborted},
		"held to be lost":                  {live(held...), []int32{1, 2}, codes.OK},
		"held to be lost, joined later":    {past(held...), []int32{1, 2}, codes.OK},
		"overtaken by another attempt":     {live(overtaken...), []int32{1, 2}, codes.OK},
		"overtaken, joined later":          {past(overtaken...), []int32{1, 2}, codes.OK},
		"another one begins":               {live(started(first), message(first, 1), lost, started(delivered)), []int32{1}, codes.Aborted},
		"lost for good":                    {live(started(first), message(first, 1), lost, ending(task.PhaseDeadLettered, first)), []int32{1}, codes.DataLoss},
		"given up too early":               {late, []int32{1, 2}, codes.OK},
		"tried again, joined later":        {past(again...), []int32{1, 2}, codes.OK},
		"lost after messages":              {live(restarted...), []int32{1, 2}, codes.Aborted},
		"lost, joined during the next":     {past(restarted[:7]...), []int32{1, 2}, codes.DeadlineExceeded},
		"lost, joined at the end":          {past(restarted...), []int32{1, 2, 3}, codes.OK},
		"two messages of a task":           {live(twice...), []int32{1}, codes.Aborted},
		"two messages, joined at the end":  {past(twice...), []int32{1, 2}, codes.OK},
		"the other one succeeds":           {live(started(first), message(first, 1), started(resent), ending(task.PhaseSucceeded, resent)), []int32{1}, codes.Aborted},
		"replayed, joined later":           {past(rerun...), []int32{1}, codes.OK},
		"corrected, joined later":          {past(corrected...), []int32{1, 2}, codes.OK},
		"corrected while the caller waits": {live(corrected...), []int32{1}, codes.DataLoss},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wait := 20 * time.Second
			if c.code == codes.DeadlineExceeded {
				wait = time.Second // nothing ends it
			}
			got, err := follow(t, serve(t, &tasks{steps: c.steps}), wait)
			require.Equal(t, c.code, status.Code(err), "%v", err)
			require.Equal(t, c.want, got)
		})
	}
}

// follow gives the messages of a stream and what it ends with.
func follow(t *testing.T, conn *grpc.ClientConn, wait time.Duration) (placed []int32, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	s, err := demov1.NewImageServiceClient(conn).ContactSheet(ctx, &demov1.ContactSheetRequest{})
	for err == nil {
		var m *demov1.ContactSheetResponse
		if m, err = s.Recv(); err == nil {
			placed = append(placed, m.Placed)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return placed, err
}

// A header that is held goes out with the first message, and takes along what the handler
// had set until then: that does not come a second time.
func TestHeadersOfAStream(t *testing.T) {
	t.Parallel()
	md := task.Metadata{"x-one": {"a", "b"}}
	begun, end := message(first, 1), ending(task.PhaseSucceeded, first)
	begun.Headers, end.Headers, end.Trailers = md, md, task.Metadata{"x-two": {"c"}}
	for name, c := range map[string]struct {
		pairs  []string
		events []task.Event
		header bool
	}{
		"early":                  {nil, []task.Event{started(first), begun, message(first, 2), end}, false},
		"late":                   {[]string{callmeta.KeyHeaders, "late"}, []task.Event{started(first), begun, message(first, 2), end}, true},
		"with key":               {[]string{callmeta.KeyIdempotencyKey, "k"}, []task.Event{started(first), begun, message(first, 2), end}, true},
		"late, without messages": {[]string{callmeta.KeyHeaders, "late"}, []task.Event{started(first), end}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := serve(t, &tasks{steps: live(c.events...)})
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), c.pairs...), 20*time.Second)
			defer cancel()
			s, err := demov1.NewImageServiceClient(conn).ContactSheet(ctx, &demov1.ContactSheetRequest{})
			for err == nil {
				_, err = s.Recv()
			}
			require.ErrorIs(t, err, io.EOF)
			header, err := s.Header()
			require.NoError(t, err)
			require.Equal(t, []string{taskID}, header.Get(callmeta.KeyTaskID))
			require.Equal(t, []string{"c"}, s.Trailer().Get("x-two"))
			if c.header {
				require.Equal(t, []string{"a", "b"}, header.Get("x-one"))
				require.Empty(t, s.Trailer().Get("x-one"))
			} else {
				require.Empty(t, header.Get("x-one"))
				require.Equal(t, []string{"a", "b"}, s.Trailer().Get("x-one"))
			}
		})
	}
}

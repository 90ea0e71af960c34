package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/client"
)

func submit(ctx context.Context, t *testing.T, c *client.Client) *client.Task[demov1.ThumbnailResponse] {
	t.Helper()
	task, err := client.Submit(ctx, demov1.NewImageServiceClient(c).Thumbnail, small)
	require.NoError(t, err)
	return task
}

func TestWaitGivesTheFailure(t *testing.T) {
	t.Parallel()
	bad, err := status.New(codes.FailedPrecondition, "no paper").WithDetails(&errdetails.ErrorInfo{Domain: "acme", Reason: "PAPER"})
	require.NoError(t, err)
	ctx, _, c := begin(t, hooks{fail: bad})
	task := submit(ctx, t, c)
	_, err = task.Wait(ctx)
	require.Equal(t, bad.Proto().String(), status.Convert(err).Proto().String())
	var ended *client.EndedError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED, ended.Task.Cause)
	require.EqualError(t, err, "task "+task.ID()+" ended DEAD_LETTERED (ATTEMPTS_EXHAUSTED): FailedPrecondition: no paper")
}

func TestWaitForACancelledTask(t *testing.T) {
	t.Parallel()
	ctx, _, c := begin(t, hooks{hold: true})
	task := submit(ctx, t, c)
	answer, err := task.Cancel(ctx, "too late")
	require.NoError(t, err)
	require.Equal(t, taskv1.CancelOutcome_CANCEL_OUTCOME_CANCELLED, answer.Outcome)
	_, err = task.Wait(ctx)
	require.Equal(t, codes.Canceled, status.Code(err))
	require.ErrorContains(t, err, "was cancelled: too late")
	require.Equal(t, task.ID(), client.TaskIDOf(err))
}

func TestEndedWithoutAFailure(t *testing.T) {
	t.Parallel()
	err := &client.EndedError{Task: &taskv1.Task{State: taskv1.TaskState_TASK_STATE_DEAD_LETTERED}}
	require.Equal(t, codes.Unknown, status.Code(err))
}

// What a wait meets on its way does not end it.
func TestWaitGoesOn(t *testing.T) {
	t.Parallel()
	var g *gateway
	ready := make(chan struct{})
	met := []error{
		errNotDone, status.Error(codes.Unavailable, "x"), errNotDone, errNotDone, reason(codes.Unavailable, "SHUTTING_DOWN", ""),
		status.Error(codes.Internal, "stream terminated by RST_STREAM"), status.Error(codes.Canceled, "a proxy's"), status.Error(codes.DeadlineExceeded, "a proxy's"),
	}
	ctx, gw, c := begin(t, hooks{hold: true, read: func(n int) error {
		<-ready
		switch {
		case n <= len(met):
			return met[n-1]
		case n <= len(met)+3:
			g.cut()
		case n == len(met)+4:
			go g.add(firstTask(g), started, ended(nil))
		}
		return nil
	}})
	g = gw
	close(ready)
	task := submit(ctx, t, c)
	g.update(task.ID(), setWidth(5))
	answer, err := task.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, int32(5), answer.Width)
}

func firstTask(g *gateway) string {
	_, tasks := g.requests()
	return tasks[0]
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{hold: true})
	_, err := client.TaskOf[demov1.ThumbnailResponse](c, unknownID).Wait(ctx)
	require.Equal(t, codes.NotFound, status.Code(err))

	task := submit(ctx, t, c)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = task.Wait(short)
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))

	g.Close()
	short, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err = task.Wait(short)
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
}

func TestWaitGivesUpWhatIsNoLostConnection(t *testing.T) {
	t.Parallel()
	ctx, g, c := begin(t, hooks{read: func(int) error { return status.Error(codes.Internal, "odd") }})
	_, err := c.Wait(ctx, unknownID)
	require.Equal(t, codes.Internal, status.Code(err))
	require.Equal(t, 6, g.waits)
	for _, code := range []codes.Code{codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.ResourceExhausted} {
		ctx, g, c := begin(t, hooks{read: func(int) error { return status.Error(code, "no") }})
		_, err := c.Wait(ctx, unknownID)
		require.Equal(t, code, status.Code(err))
		require.Equal(t, 1, g.waits)
	}
	ctx, g, c = begin(t, hooks{read: func(int) error { return reason(codes.Internal, "INTERNAL", "") }})
	_, err = c.Wait(ctx, unknownID)
	require.Equal(t, codes.Internal, status.Code(err))
	require.Equal(t, 1, g.waits)
}

func TestWaitForAnotherTypeOfResult(t *testing.T) {
	t.Parallel()
	ctx, _, c := begin(t, hooks{})
	task := submit(ctx, t, c)
	_, err := client.TaskOf[demov1.ContactSheetResponse](c, task.ID()).Wait(ctx)
	require.ErrorContains(t, err, "the result of task "+task.ID())
	_, err = client.TaskOf[int](c, task.ID()).Wait(ctx)
	require.ErrorContains(t, err, "is no protobuf message")
}

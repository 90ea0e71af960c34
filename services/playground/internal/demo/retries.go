//go:build unix

package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// backoff is between the attempts of a task that fails.
const backoff = 150 * time.Millisecond

// retries submits a call that fails twice, and checks that it is tried a third
// time, and that each attempt is on record with what was decided after it.
func (s *session) retries(ctx context.Context) error {
	request := &demov1.FailTimesRequest{Key: rand.Text()[:6], Times: 2}
	task, err := s.submitWith(ctx, demov1.FaultService_FailTimes_FullMethodName, request, &taskv1.RetryPolicy{Backoff: fixedBackoff()})
	if err != nil {
		return err
	}
	s.print.Line("submitted", "task %s", task.GetTaskId())
	if task, err = s.watch(ctx, task); err != nil {
		return err
	}
	if err := checkCalls(task, request.GetTimes()+1); err != nil {
		return err
	}
	attempts, err := s.listAttempts(ctx, task)
	if err != nil {
		return err
	}
	s.print.Line("attempts", "%s", describeDecisions(attempts))
	if err := checkAttempts(attempts, attempt{1, 1, false}, attempt{1, 2, false}, attempt{1, 3, true}); err != nil {
		return err
	}
	s.print.Line("checked", "it was called 3 times and SUCCEEDED; both failures are on record, with what was decided and why")
	return nil
}

// fixedBackoff waits the same each time, as the demo's reader would expect.
func fixedBackoff() *taskv1.Backoff {
	return &taskv1.Backoff{Kind: &taskv1.Backoff_Fixed{Fixed: durationpb.New(backoff)}, Jitter: taskv1.Jitter_JITTER_NONE}
}

// checkCalls checks that the task SUCCEEDED, when its handler was called for
// that time.
func checkCalls(task *taskv1.Task, want int32) error {
	var answer demov1.FailTimesResponse
	if err := result(task, &answer); err != nil {
		return err
	}
	if got := answer.GetCalls(); got != want {
		return fmt.Errorf("the handler of task %s was called %d times, not %d", task.GetTaskId(), got, want)
	}
	return nil
}

//go:build unix

package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/proto"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// deadFilter finds the step's dead letter, and none of the steps before.
	deadFilter = `code = "UNAVAILABLE" AND cause = "ATTEMPTS_EXHAUSTED"`
	// listAgain is how long a dead letter may take to come in before it is asked
	// for again.
	listAgain = 50 * time.Millisecond
)

// deadLetter submits a call that fails more often than it may, and follows the
// dead letter to the end of its replay.
func (s *session) deadLetter(ctx context.Context) error {
	request := &demov1.FailTimesRequest{Key: rand.Text()[:6], Times: 3}
	task, err := s.submitWith(ctx, demov1.FaultService_FailTimes_FullMethodName, request,
		&taskv1.RetryPolicy{MaxAttempts: 2, Backoff: fixedBackoff()})
	if err != nil {
		return err
	}
	s.print.Line("submitted", "task %s, which may be tried twice", task.GetTaskId())
	if task, err = s.watch(ctx, task); err != nil {
		return err
	}
	if err := checkDead(task, taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED); err != nil {
		return err
	}
	if err := s.find(ctx, task); err != nil {
		return err
	}
	dead, err := s.understand(ctx, task, request)
	if err != nil {
		return err
	}
	if err := s.replay(ctx, dead); err != nil {
		return err
	}
	return s.checkReplayed(ctx, task, request)
}

// find waits until the filter finds the task's dead letter.
func (s *session) find(ctx context.Context, task *taskv1.Task) error {
	ticker := time.NewTicker(listAgain)
	defer ticker.Stop()
	for {
		answer, err := s.dead.ListDeadLetters(ctx, &deadletterv1.ListDeadLettersRequest{Filter: deadFilter})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("list dead letters: %w", err)
		}
		if found := answer.GetDeadLetters(); len(found) > 0 {
			s.print.Line("listed", "%s\n%s", deadFilter, describeDeadLetters(found))
			return checkFound(found, task)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("task %s did not come in as a dead letter: %w", task.GetTaskId(), context.Cause(ctx))
		}
	}
}

func checkFound(found []*deadletterv1.DeadLetter, task *taskv1.Task) error {
	if len(found) != 1 || found[0].GetTaskId() != task.GetTaskId() {
		return fmt.Errorf("the filter %s does not find the one dead letter of task %s alone, but %d", deadFilter, task.GetTaskId(), len(found))
	}
	if found[0].GetState() != deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN {
		return fmt.Errorf("dead letter %s is %s, not OPEN", found[0].GetDeadLetterId(), deadLetterStateName(found[0].GetState()))
	}
	if got := found[0].GetFailure(); got.GetCode() != int32(code.Code_UNAVAILABLE) || got.GetMessage() != task.GetFailure().GetMessage() {
		return fmt.Errorf("dead letter %s has the failure %s, its task %s",
			found[0].GetDeadLetterId(), describeFailure(got), describeFailure(task.GetFailure()))
	}
	return nil
}

// understand shows all that the dead letter has, and checks that it needs
// nothing else to be understood.
func (s *session) understand(ctx context.Context, task *taskv1.Task, request proto.Message) (*deadletterv1.DeadLetter, error) {
	answer, err := s.dead.GetDeadLetter(ctx, &deadletterv1.GetDeadLetterRequest{
		DeadLetterId: task.GetTaskId(), View: deadletterv1.DeadLetterView_DEAD_LETTER_VIEW_FULL,
	})
	if err != nil {
		return nil, fmt.Errorf("get dead letter %s: %w", task.GetTaskId(), err)
	}
	dead := answer.GetDeadLetter()
	if n := len(dead.GetOccurrences()); n != 1 {
		return nil, fmt.Errorf("dead letter %s has %d occurrences, not 1", dead.GetDeadLetterId(), n)
	}
	attempts := dead.GetOccurrences()[0].GetAttempts()
	s.print.Line("attempts", "%s", describeDecisions(attempts))
	if err := checkAttempts(attempts, attempt{1, 1, false}, attempt{1, 2, false}); err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", dead.GetDeadLetterId(), err)
	}
	sent, err := proto.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the payload: %w", err)
	}
	if !bytes.Equal(dead.GetMessage().GetBody(), sent) {
		return nil, fmt.Errorf("dead letter %s does not have the payload that was submitted", dead.GetDeadLetterId())
	}
	s.print.Line("checked", "the dead letter has both attempts and the payload, byte for byte")
	return dead, nil
}

// checkReplayed checks the task after its replay.
func (s *session) checkReplayed(ctx context.Context, task *taskv1.Task, request *demov1.FailTimesRequest) error {
	task, err := s.get(ctx, task.GetTaskId())
	if err != nil {
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
	if err := checkAttempts(attempts, attempt{1, 1, false}, attempt{1, 2, false}, attempt{2, 1, false}, attempt{2, 2, true}); err != nil {
		return err
	}
	s.print.Line("checked", "the task SUCCEEDED in run 2, and its dead letter is RESOLVED")
	return nil
}

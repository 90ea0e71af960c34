//go:build unix

package demo

import (
	"context"
	"fmt"
	"strings"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

func (s *session) listAttempts(ctx context.Context, task *taskv1.Task) ([]*taskv1.TaskAttempt, error) {
	answer, err := s.tasks.ListTaskAttempts(ctx, &taskv1.ListTaskAttemptsRequest{TaskId: task.GetTaskId()})
	if err != nil {
		return nil, fmt.Errorf("list the attempts of task %s: %w", task.GetTaskId(), err)
	}
	return answer.GetAttempts(), nil
}

// attempt is what is checked of an attempt.
type attempt struct {
	run, number int32
	succeeded   bool
}

func (a attempt) String() string {
	outcome := taskv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED
	if a.succeeded {
		outcome = taskv1.AttemptOutcome_ATTEMPT_OUTCOME_SUCCEEDED
	}
	return fmt.Sprintf("run %d attempt %d %s", a.run, a.number, outcomeName(outcome))
}

// checkAttempts checks that those attempts are on record and no others, and
// that each failure has a decision.
func checkAttempts(got []*taskv1.TaskAttempt, want ...attempt) error {
	var there []string
	for _, a := range got {
		there = append(there, fmt.Sprintf("run %d attempt %d %s", a.GetRun(), a.GetAttempt(), outcomeName(a.GetOutcome())))
	}
	var due []string
	for _, a := range want {
		due = append(due, a.String())
	}
	if there, due := strings.Join(there, ", "), strings.Join(due, ", "); there != due {
		return fmt.Errorf("the attempts on record are %q, not %q", there, due)
	}
	for i, a := range got {
		if !want[i].succeeded && a.GetDecision() == "" {
			return fmt.Errorf("nothing says what was decided after attempt %d of run %d", a.GetAttempt(), a.GetRun())
		}
	}
	return nil
}

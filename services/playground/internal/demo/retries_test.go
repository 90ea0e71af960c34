//go:build unix

package demo

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// tried are attempts as the API would tell them.
func tried(attempts ...attempt) []*taskv1.TaskAttempt {
	var told []*taskv1.TaskAttempt
	for _, a := range attempts {
		outcome, decision := taskv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED, fmt.Sprintf("decided after attempt %d", a.number)
		if a.succeeded {
			outcome, decision = taskv1.AttemptOutcome_ATTEMPT_OUTCOME_SUCCEEDED, ""
		}
		told = append(told, &taskv1.TaskAttempt{Run: a.run, Attempt: a.number, Outcome: outcome, Decision: decision})
	}
	return told
}

// succeeded is a task whose handler was called so often.
func succeeded(t *testing.T, calls int32) *taskv1.Task {
	t.Helper()
	return &taskv1.Task{
		TaskId: "id", State: taskv1.TaskState_TASK_STATE_SUCCEEDED, Result: packed(t, &demov1.FailTimesResponse{Calls: calls}),
	}
}

func TestTheRetryStepChecksTheAttempts(t *testing.T) {
	t.Parallel()
	first, second, third := attempt{1, 1, false}, attempt{1, 2, false}, attempt{1, 3, true}
	undecided := tried(first, second, third)
	undecided[1].Decision = ""
	for name, test := range map[string]struct {
		task     *taskv1.Task
		attempts []*taskv1.TaskAttempt
		words    string
	}{
		"right":             {succeeded(t, 3), tried(first, second, third), ""},
		"never tried again": {&taskv1.Task{State: taskv1.TaskState_TASK_STATE_DEAD_LETTERED}, nil, "is DEAD_LETTERED"},
		"called too often":  {succeeded(t, 4), tried(first, second, third), "called 4 times, not 3"},
		"one is missing":    {succeeded(t, 3), tried(first, third), "the attempts on record are"},
		"one too many":      {succeeded(t, 3), tried(first, second, second, third), "the attempts on record are"},
		"without decision":  {succeeded(t, 3), undecided, "decided after attempt 2 of run 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, out := sessionWith(t, &gateway{events: history(1, 2, 3), task: test.task, attempts: test.attempts})
			requireWords(t, s.retries(t.Context()), test.words)
			if test.words == "" {
				require.Contains(t, out.String(), "decided after attempt 2")
				return
			}
			require.NotContains(t, out.String(), "checked")
		})
	}
}

package policy_test

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

func ExamplePolicy_Decide() {
	options := &taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{
		MaxAttempts: 3,
		Backoff: &taskv1.Backoff{
			Kind:   &taskv1.Backoff_Exponential{Exponential: &taskv1.ExponentialBackoff{Initial: durationpb.New(2 * time.Second)}},
			Jitter: taskv1.Jitter_JITTER_NONE,
		},
		Rules: []*taskv1.RetryRule{{
			Codes: []string{"NOT_FOUND"}, Reason: "NOT_YET_REPLICATED", Action: taskv1.RetryAction_RETRY_ACTION_RETRY,
		}},
	}}
	p, err := policy.Compile(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	for n := 1; n <= 3; n++ {
		d := p.Decide(policy.Attempt{Number: n, Now: time.Now(), Failure: &task.Failure{Code: 14, Message: "connection refused"}})
		fmt.Println(d.Why)
	}
	// Output:
	// attempt 1 of 3: UNAVAILABLE is retryable, next in 2 s
	// attempt 2 of 3: UNAVAILABLE is retryable, next in 4 s
	// attempt 3 of 3: UNAVAILABLE is retryable, but no attempts are left
}

func ExampleValidate() {
	fmt.Println(policy.Validate(&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{
		{Codes: []string{"Unavailable"}, Action: taskv1.RetryAction_RETRY_ACTION_DEAD_LETTER},
	}}}))
	// Output:
	// retry.rules[0].codes[0]: "Unavailable" is not the name of a google.rpc.Code, e.g. UNAVAILABLE
}

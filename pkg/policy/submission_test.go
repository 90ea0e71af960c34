package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

func TestSubmission(t *testing.T) {
	t.Parallel()
	base := compiled(t, &taskv1.TaskOptions{
		Timeout: dur(time.Minute),
		Retry:   &taskv1.RetryPolicy{MaxAttempts: 4, Budget: dur(time.Hour), Backoff: fixed(time.Second, none), Rules: []*taskv1.RetryRule{rule(retry, "NOT_FOUND")}},
	})
	same, err := base.Submission(nil, nil)
	require.NoError(t, err)
	require.Equal(t, base, same)

	p, err := base.Submission(dur(time.Second), &taskv1.RetryPolicy{MaxAttempts: 2, Budget: dur(time.Minute + 2*time.Second), Backoff: list(0, 2*time.Second, 3*time.Second)})
	require.NoError(t, err)
	require.Equal(t, time.Second, p.Timeout())
	require.Equal(t, 2, p.MaxAttempts())
	d := p.Decide(attempt(1, failed(codes.NotFound)))
	require.Equal(t, start.Add(time.Minute+2*time.Second), d.At, "its waits, and the type's jitter")
	require.Contains(t, d.Why, "attempt 1 of 2: NOT_FOUND is retryable by rule 1 of 1", "the type's rules")
	require.Contains(t, p.Decide(attempt(2, failed(codes.NotFound))).Why, "no attempts")

	require.Equal(t, time.Minute, base.Timeout(), "the type's is as it was")
	require.Equal(t, 4, base.MaxAttempts())

	t.Run("a jitter alone", func(t *testing.T) {
		t.Parallel()
		p, err := base.Submission(nil, &taskv1.RetryPolicy{Backoff: &taskv1.Backoff{Jitter: full}})
		require.NoError(t, err)
		require.Equal(t, time.Second, policy.WaitAfter(p, 1))
		d := policy.DecideWith(p, attempt(1, failed(codes.Aborted)), func(int64) int64 { return 0 })
		require.Equal(t, start.Add(time.Minute+10*time.Millisecond), d.At)
	})
	t.Run("a jitter and its waits", func(t *testing.T) {
		t.Parallel()
		p, err := compiled(t, nil).Submission(nil, &taskv1.RetryPolicy{Backoff: exponential(&taskv1.ExponentialBackoff{Multiplier: 3}, none)})
		require.NoError(t, err)
		require.Equal(t, start.Add(time.Minute+3*time.Second), p.Decide(attempt(2, failed(codes.Aborted))).At)
	})
	t.Run("exactly the type's", func(t *testing.T) {
		t.Parallel()
		_, err := base.Submission(dur(time.Minute), &taskv1.RetryPolicy{MaxAttempts: 4, Budget: dur(time.Hour)})
		require.NoError(t, err)
	})
	t.Run("a budget below the type's wait", func(t *testing.T) {
		t.Parallel()
		_, err := base.Submission(nil, &taskv1.RetryPolicy{Budget: dur(time.Millisecond)})
		require.NoError(t, err)
	})
}

func TestSubmissionAtMostOnce(t *testing.T) {
	t.Parallel()
	base := compiled(t, once(nil))
	_, err := base.Submission(nil, &taskv1.RetryPolicy{MaxAttempts: 1})
	require.NoError(t, err)
	p, err := base.Submission(nil, &taskv1.RetryPolicy{MaxAttempts: 2})
	requireField(t, err, "retry.max_attempts", "at most once")
	require.Equal(t, 1, p.MaxAttempts())
	require.True(t, p.AtMostOnce())
}

func TestSubmissionRefuses(t *testing.T) {
	t.Parallel()
	base := compiled(t, &taskv1.TaskOptions{
		Timeout: dur(time.Minute),
		Retry:   &taskv1.RetryPolicy{MaxAttempts: 4, Budget: dur(time.Hour), Backoff: fixed(time.Second, none)},
	})
	for name, tc := range map[string]struct {
		timeout        *durationpb.Duration
		retry          *taskv1.RetryPolicy
		field, problem string
	}{
		"a timeout above the type's": {dur(time.Minute + 1), nil, "timeout", "at most the task type's, 1m0s"},
		"a timeout of nothing":       {dur(0), nil, "timeout", ""},
		"a timeout that is none":     {&durationpb.Duration{Nanos: 2e9}, nil, "timeout", "Duration"},
		"attempts above the type's":  {nil, &taskv1.RetryPolicy{MaxAttempts: 5}, "retry.max_attempts", "at most the task type's, 4"},
		"negative attempts":          {nil, &taskv1.RetryPolicy{MaxAttempts: -5}, "retry.max_attempts", ""},
		"a budget above the type's":  {nil, &taskv1.RetryPolicy{Budget: dur(2 * time.Hour)}, "retry.budget", "1h0m0s"},
		"rules":                      {nil, &taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{rule(retry, "INTERNAL")}}, "retry.rules", "must be empty"},
		"a backoff that can't be":    {nil, &taskv1.RetryPolicy{Backoff: exponential(&taskv1.ExponentialBackoff{Initial: dur(time.Hour)}, 0)}, "retry.backoff.exponential.max", ""},
		"a backoff of an empty list": {nil, &taskv1.RetryPolicy{Backoff: list(0)}, "retry.backoff.list.delays", ""},
		"a jitter that is none":      {nil, &taskv1.RetryPolicy{Backoff: &taskv1.Backoff{Jitter: 9}}, "retry.backoff.jitter", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := base.Submission(tc.timeout, tc.retry)
			requireField(t, err, tc.field, tc.problem)
			require.Equal(t, time.Minute, p.Timeout())
			require.Equal(t, 4, p.MaxAttempts())
			require.Equal(t, start.Add(time.Minute+time.Second), p.Decide(attempt(1, failed(codes.Aborted))).At)
		})
	}
}

// A task that was accepted is carried out, though its type has been narrowed.
func TestSubmissionToATypeThatWasNarrowed(t *testing.T) {
	t.Parallel()
	base := compiled(t, &taskv1.TaskOptions{Timeout: dur(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 2}})
	p, err := base.Submission(dur(time.Second), &taskv1.RetryPolicy{
		MaxAttempts: 4, Backoff: list(none), Budget: dur(time.Hour), Rules: []*taskv1.RetryRule{rule(retry, "NOT_FOUND")},
	})
	require.Error(t, err)
	require.Equal(t, time.Second, p.Timeout(), "what is within the bounds holds")
	require.Equal(t, 2, p.MaxAttempts(), "what is above them is cut")
	require.Equal(t, 2*time.Second, policy.WaitAfter(p, 2), "what makes no sense counts as not set")
	require.False(t, p.Decide(attempt(1, failed(codes.NotFound))).Retry)
	late := attempt(1, failed(codes.Aborted))
	late.Now = start.Add(2 * time.Hour)
	require.Contains(t, p.Decide(late).Why, "the budget of 1 h is spent")
}

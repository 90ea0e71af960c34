package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

// defaults are what is in force without any options.
func defaults(change func(*taskv1.TaskOptions)) *taskv1.TaskOptions {
	o := &taskv1.TaskOptions{
		Timeout:    dur(10 * time.Minute),
		Priority:   taskv1.Priority_PRIORITY_NORMAL,
		AtMostOnce: proto.Bool(false), AllowIncompatible: proto.Bool(false),
		QueueLimit: &taskv1.QueueLimit{Overflow: taskv1.Overflow_OVERFLOW_REFUSE},
		Retry: &taskv1.RetryPolicy{
			MaxAttempts: 5,
			Budget:      dur(7 * 24 * time.Hour),
			Backoff: exponential(&taskv1.ExponentialBackoff{
				Initial: dur(time.Second), Multiplier: 2, Max: dur(10 * time.Minute),
			}, full),
		},
	}
	if change != nil {
		change(o)
	}
	return o
}

func TestEffective(t *testing.T) {
	t.Parallel()
	declared := &taskv1.TaskOptions{
		Timeout: dur(time.Hour), Expiry: dur(time.Minute), Retention: dur(time.Hour), Priority: 7,
		QueueLimit: &taskv1.QueueLimit{MaxLength: 10},
		Retry:      &taskv1.RetryPolicy{MaxAttempts: 3, Rules: []*taskv1.RetryRule{rule(retry, "NOT_FOUND")}},
	}
	inForce := func(change func(*taskv1.TaskOptions)) *taskv1.TaskOptions {
		return defaults(func(o *taskv1.TaskOptions) {
			o.Timeout, o.Expiry, o.Retention, o.Priority = dur(time.Hour), dur(time.Minute), dur(time.Hour), 7
			o.QueueLimit.MaxLength = 10
			o.Retry.MaxAttempts, o.Retry.Rules = 3, []*taskv1.RetryRule{rule(retry, "NOT_FOUND")}
			if change != nil {
				change(o)
			}
		})
	}
	for name, tc := range map[string]struct {
		declared, override *taskv1.TaskOptions
		paths              []string
		want               *taskv1.TaskOptions
	}{
		"nothing":                {nil, nil, nil, defaults(nil)},
		"declared":               {declared, nil, nil, inForce(nil)},
		"an override unmasked":   {declared, &taskv1.TaskOptions{Priority: 2}, nil, inForce(nil)},
		"an override":            {declared, &taskv1.TaskOptions{Priority: 2, Timeout: dur(time.Second)}, []string{"priority"}, inForce(func(o *taskv1.TaskOptions) { o.Priority = 2 })},
		"of nothing declared":    {nil, retrying(&taskv1.RetryPolicy{MaxAttempts: 9}), []string{"retry.max_attempts"}, defaults(func(o *taskv1.TaskOptions) { o.Retry.MaxAttempts = 9 })},
		"one field of a message": {declared, retrying(&taskv1.RetryPolicy{MaxAttempts: 9, Budget: dur(time.Hour)}), []string{"retry.max_attempts"}, inForce(func(o *taskv1.TaskOptions) { o.Retry.MaxAttempts = 9 })},
		"a whole message": {declared, retrying(&taskv1.RetryPolicy{Budget: dur(time.Hour)}), []string{"retry"}, inForce(func(o *taskv1.TaskOptions) {
			o.Retry = defaults(nil).Retry
			o.Retry.Budget = dur(time.Hour)
		})},
		"an empty message":       {declared, &taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{}}, []string{"queue_limit"}, inForce(func(o *taskv1.TaskOptions) { o.QueueLimit.MaxLength = 0 })},
		"a path without a value": {declared, nil, []string{"retry.rules", "expiry"}, inForce(func(o *taskv1.TaskOptions) { o.Retry.Rules, o.Expiry = nil, nil })},
		"an unknown path":        {declared, &taskv1.TaskOptions{Priority: 2}, []string{"colour"}, inForce(nil)},
		"a backoff": {declared, retrying(&taskv1.RetryPolicy{Backoff: fixed(time.Second, 0)}), []string{"retry.backoff"}, inForce(func(o *taskv1.TaskOptions) {
			o.Retry.Backoff = fixed(time.Second, full)
		})},
		"at most once": {declared, &taskv1.TaskOptions{AtMostOnce: proto.Bool(true)}, []string{"at_most_once"}, inForce(func(o *taskv1.TaskOptions) {
			o.AtMostOnce, o.Retry.MaxAttempts = proto.Bool(true), 1
		})},
		"not at most once": {once(nil), &taskv1.TaskOptions{AtMostOnce: proto.Bool(false)}, []string{"at_most_once"}, defaults(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := []*taskv1.TaskOptions{proto.CloneOf(tc.declared), proto.CloneOf(tc.override)}
			got := policy.Effective(tc.declared, tc.override, tc.paths)
			requireEqual(t, tc.want, got)
			requireEqual(t, got, policy.Effective(got, nil, nil))
			proto.Reset(got)
			requireEqual(t, before[0], tc.declared)
			requireEqual(t, before[1], tc.override)
		})
	}
}

func TestEffectiveSharesNothing(t *testing.T) {
	t.Parallel()
	override := retrying(&taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{rule(retry, "ABORTED")}, Backoff: fixed(time.Second, none)})
	got := policy.Effective(nil, override, []string{"retry"})
	got.Retry.Rules[0].Codes[0] = "INTERNAL"
	got.Retry.Backoff.Jitter = full
	require.Equal(t, "ABORTED", override.Retry.Rules[0].Codes[0])
	require.Equal(t, none, override.Retry.Backoff.Jitter)
}

func TestCompile(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]policy.Policy{
		"zero":  {},
		"nil":   compiled(t, nil),
		"empty": compiled(t, &taskv1.TaskOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, 10*time.Minute, p.Timeout())
			require.Equal(t, 5, p.MaxAttempts())
			require.False(t, p.AtMostOnce())
			require.True(t, p.Decide(attempt(1, ended(0, 14))).Retry)
		})
	}
	p, err := policy.Compile(&taskv1.TaskOptions{AtMostOnce: proto.Bool(true), Timeout: dur(time.Second), Retry: &taskv1.RetryPolicy{MaxAttempts: 4}})
	require.NoError(t, err)
	require.Equal(t, time.Second, p.Timeout())
	require.Equal(t, 1, p.MaxAttempts(), "whatever the attempts")
	require.True(t, p.AtMostOnce())

	p, err = policy.Compile(retrying(&taskv1.RetryPolicy{Backoff: fixed(time.Nanosecond, none)}))
	requireField(t, err, "retry.backoff.fixed", "")
	require.Equal(t, policy.Policy{}, p)
}

// A newer gateway may send values that this version has no name for.
func TestCompileOfANewerVersion(t *testing.T) {
	t.Parallel()
	p, err := policy.Compile(retrying(&taskv1.RetryPolicy{
		Backoff: fixed(time.Hour, 99),
		Rules:   []*taskv1.RetryRule{rule(99, "NOT_FOUND"), rule(99, "ABORTED"), rule(dead, "INTERNAL")},
	}))
	require.NoError(t, err)
	least := func(int64) int64 { return 0 }
	d := policy.DecideWith(p, attempt(1, failed(10)), least)
	require.True(t, d.Retry, "as without the rule")
	require.Equal(t, start.Add(time.Minute+10*time.Millisecond), d.At, "full jitter")
	require.Equal(t, "attempt 1 of 5: NOT_FOUND is not retryable", p.Decide(attempt(1, failed(5))).Why)
	require.Contains(t, p.Decide(attempt(1, failed(13))).Why, "rule 3 of 3")
}

package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

// state is an override and its paths.
type state struct {
	options *taskv1.TaskOptions
	paths   []string
}

func TestOverride(t *testing.T) {
	t.Parallel()
	attempts := func(n int32) *taskv1.TaskOptions { return retrying(&taskv1.RetryPolicy{MaxAttempts: n}) }
	both := &taskv1.TaskOptions{Timeout: dur(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 3, Budget: dur(time.Hour)}}
	whole := retrying(&taskv1.RetryPolicy{MaxAttempts: 3, Rules: []*taskv1.RetryRule{rule(retry, "NOT_FOUND")}})
	for name, tc := range map[string]struct {
		current, update, want state
	}{
		"the first": {state{}, state{attempts(7), []string{"retry.max_attempts"}}, state{attempts(7), []string{"retry.max_attempts"}}},
		"one more, in the fields' order": {
			state{attempts(7), []string{"retry.max_attempts"}},
			state{&taskv1.TaskOptions{Timeout: dur(time.Minute)}, []string{"timeout"}},
			state{&taskv1.TaskOptions{Timeout: dur(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 7}}, []string{"timeout", "retry.max_attempts"}},
		},
		"only what the paths name": {state{}, state{both, []string{"timeout"}}, state{&taskv1.TaskOptions{Timeout: dur(time.Minute)}, []string{"timeout"}}},
		"again":                    {state{attempts(7), []string{"retry.max_attempts"}}, state{attempts(8), []string{"retry.max_attempts", "retry.max_attempts"}}, state{attempts(8), []string{"retry.max_attempts"}}},
		"back to what is declared": {
			state{both, []string{"timeout", "retry.max_attempts", "retry.budget"}}, state{nil, []string{"timeout", "retry.budget"}},
			state{attempts(3), []string{"retry.max_attempts"}},
		},
		"nothing left":              {state{attempts(7), []string{"retry.max_attempts"}}, state{nil, []string{"retry.max_attempts"}}, state{}},
		"nothing there":             {state{}, state{&taskv1.TaskOptions{}, []string{"expiry"}}, state{}},
		"a message replaces fields": {state{both, []string{"retry.max_attempts", "retry.budget"}}, state{whole, []string{"retry"}}, state{whole, []string{"retry"}}},
		"a message without a value removes its fields": {
			state{both, []string{"timeout", "retry.max_attempts", "retry.budget"}}, state{nil, []string{"retry"}},
			state{&taskv1.TaskOptions{Timeout: dur(time.Minute)}, []string{"timeout"}},
		},
		"a field within a message": {
			state{whole, []string{"retry"}}, state{attempts(4), []string{"retry.max_attempts"}},
			state{retrying(&taskv1.RetryPolicy{MaxAttempts: 4, Rules: whole.Retry.Rules}), []string{"retry"}},
		},
		"a field taken out of a message": {
			state{whole, []string{"retry"}}, state{nil, []string{"retry.max_attempts"}},
			state{retrying(&taskv1.RetryPolicy{Rules: whole.Retry.Rules}), []string{"retry.backoff", "retry.budget", "retry.rules"}},
		},
		"a message covers its fields": {state{}, state{whole, []string{"retry.budget", "retry"}}, state{whole, []string{"retry"}}},
		"an empty message": {
			state{}, state{&taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{}}, []string{"queue_limit"}},
			state{&taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{}}, []string{"queue_limit"}},
		},
		"explicitly not": {
			state{}, state{&taskv1.TaskOptions{AtMostOnce: proto.Bool(false)}, []string{"at_most_once"}},
			state{&taskv1.TaskOptions{AtMostOnce: proto.Bool(false)}, []string{"at_most_once"}},
		},
		"of an unknown path": {state{attempts(7), []string{"colour", "retry.max_attempts"}}, state{attempts(8), []string{"retry.max_attempts"}}, state{attempts(8), []string{"retry.max_attempts"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := []*taskv1.TaskOptions{proto.CloneOf(tc.current.options), proto.CloneOf(tc.update.options)}
			next, paths, err := policy.Override(nil, tc.current.options, tc.current.paths, tc.update.options, tc.update.paths)
			require.NoError(t, err)
			requireEqual(t, tc.want.options, next)
			require.Equal(t, tc.want.options == nil, next == nil)
			require.Equal(t, tc.want.paths, paths)
			requireEqual(t, before[0], tc.current.options)
			requireEqual(t, before[1], tc.update.options)
		})
	}
}

// What was overridden as part of a message keeps its default when another part
// goes back to what is declared.
func TestOverrideOfPartOfAMessage(t *testing.T) {
	t.Parallel()
	declared := retrying(&taskv1.RetryPolicy{MaxAttempts: 9, Budget: dur(time.Hour), Rules: []*taskv1.RetryRule{rule(dead, "ABORTED")}})
	whole := retrying(&taskv1.RetryPolicy{MaxAttempts: 3})
	next, paths, err := policy.Override(declared, whole, []string{"retry"}, nil, []string{"retry.max_attempts"})
	require.NoError(t, err)
	requireEqual(t, defaults(func(o *taskv1.TaskOptions) { o.Retry.MaxAttempts = 9 }), policy.Effective(declared, next, paths))
}

func TestOverrideRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		declared       *taskv1.TaskOptions
		update         *taskv1.TaskOptions
		paths          []string
		field, problem string
	}{
		"no path":                {nil, nil, nil, "update_mask", "at least one"},
		"an unknown path":        {nil, nil, []string{"timeout", "retry.colour"}, "update_mask", `"retry.colour" is not a field`},
		"an empty path":          {nil, nil, []string{""}, "update_mask", `"" is not a field`},
		"a part of a duration":   {nil, nil, []string{"timeout.seconds"}, "update_mask", `"timeout.seconds" is part of "timeout"`},
		"a part of a backoff":    {nil, nil, []string{"retry.backoff.fixed"}, "update_mask", `part of "retry.backoff"`},
		"deep in a backoff":      {nil, nil, []string{"retry.backoff.exponential.max"}, "update_mask", `part of "retry.backoff"`},
		"an element":             {nil, nil, []string{"retry.rules[0]"}, "update_mask", "not a field"},
		"a part of an element":   {nil, nil, []string{"retry.rules.codes"}, "update_mask", `part of "retry.rules"`},
		"a value out of range":   {nil, &taskv1.TaskOptions{Timeout: dur(13 * time.Hour)}, []string{"timeout"}, "timeout", ""},
		"a rule without action":  {nil, rules(rule(0, "ABORTED")), []string{"retry.rules"}, "retry.rules[0].action", ""},
		"attempts at most once":  {once(nil), retrying(&taskv1.RetryPolicy{MaxAttempts: 2}), []string{"retry.max_attempts"}, "retry.max_attempts", "at most once"},
		"at most once, retrying": {rules(rule(retry, "NOT_FOUND")), once(nil), []string{"at_most_once"}, "retry.rules[0].action", "at most once"},
		"both together": {
			retrying(&taskv1.RetryPolicy{Backoff: fixed(time.Hour, none)}), retrying(&taskv1.RetryPolicy{Budget: dur(time.Minute)}),
			[]string{"retry.budget"}, "retry.budget", "1h0m0s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next, paths, err := policy.Override(tc.declared, nil, nil, tc.update, tc.paths)
			requireField(t, err, tc.field, tc.problem)
			require.Nil(t, next)
			require.Nil(t, paths)
		})
	}
}

func TestOverrideToAtMostOnce(t *testing.T) {
	t.Parallel()
	declared := retrying(&taskv1.RetryPolicy{MaxAttempts: 9})
	next, paths, err := policy.Override(declared, nil, nil, once(nil), []string{"at_most_once"})
	require.NoError(t, err)
	require.EqualValues(t, 1, policy.Effective(declared, next, paths).GetRetry().GetMaxAttempts())
}

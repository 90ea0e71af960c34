package policy_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

func once(r *taskv1.RetryPolicy) *taskv1.TaskOptions {
	return &taskv1.TaskOptions{AtMostOnce: proto.Bool(true), Retry: r}
}

func TestValidateAccepts(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*taskv1.TaskOptions{
		"nil":     nil,
		"nothing": {},
		"every bound": {
			Timeout: dur(12 * time.Hour), Priority: 9, Expiry: dur(time.Millisecond), Retention: dur(365 * 24 * time.Hour),
			QueueLimit: &taskv1.QueueLimit{MaxLength: math.MaxInt64, Overflow: taskv1.Overflow_OVERFLOW_DEAD_LETTER},
			Retry: &taskv1.RetryPolicy{
				MaxAttempts: 1000, Budget: dur(90 * 24 * time.Hour),
				Backoff: list(full, 10*time.Millisecond, 24*time.Hour),
			},
		},
		"a priority without a name": {Priority: 5},
		"empty messages":            {Retry: &taskv1.RetryPolicy{Backoff: &taskv1.Backoff{}}, QueueLimit: &taskv1.QueueLimit{}},
		"an empty exponential":      retrying(&taskv1.RetryPolicy{Backoff: exponential(&taskv1.ExponentialBackoff{}, 0)}),
		"a multiplier of 1":         retrying(&taskv1.RetryPolicy{Backoff: exponential(&taskv1.ExponentialBackoff{Multiplier: 1}, 0)}),
		"initial equals max":        retrying(&taskv1.RetryPolicy{Backoff: exponential(&taskv1.ExponentialBackoff{Initial: dur(time.Hour), Max: dur(time.Hour)}, 0)}),
		"rules": rules(
			&taskv1.RetryRule{Codes: []string{"NOT_FOUND"}, Reason: "SOLD_OUT", Domain: "acme.example", Action: retry},
			&taskv1.RetryRule{Reason: "SOLD_OUT", Action: dead},
			rule(ignore, "UNAVAILABLE", "UNIMPLEMENTED"),
			rule(retry),
		),
		"at most once":             once(nil),
		"at most once, said twice": once(&taskv1.RetryPolicy{MaxAttempts: 1, Rules: []*taskv1.RetryRule{rule(dead, "ABORTED")}}),
		"a budget of the first wait": retrying(&taskv1.RetryPolicy{
			Budget: dur(time.Second), Backoff: fixed(time.Second, none),
		}),
		"a budget within the jitter":         retrying(&taskv1.RetryPolicy{Budget: dur(time.Second), Backoff: fixed(time.Hour, full)}),
		"a short budget for no attempts":     retrying(&taskv1.RetryPolicy{Budget: dur(time.Nanosecond), MaxAttempts: 1}),
		"an expiry shorter than one attempt": {Expiry: dur(time.Second), Timeout: dur(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, policy.Validate(o))
			require.NoError(t, policy.Validate(policy.Effective(o, nil, nil)), "what is in force is valid, too")
			_, err := policy.Compile(o)
			require.NoError(t, err)
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	backoff := func(b *taskv1.Backoff) *taskv1.TaskOptions { return retrying(&taskv1.RetryPolicy{Backoff: b}) }
	for name, tc := range map[string]struct {
		options        *taskv1.TaskOptions
		field, problem string
	}{
		"a timeout that is none":      {&taskv1.TaskOptions{Timeout: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "timeout", "Duration"},
		"a timeout of nothing":        {&taskv1.TaskOptions{Timeout: dur(0)}, "timeout", "greater than 0s"},
		"a timeout above 12 h":        {&taskv1.TaskOptions{Timeout: dur(12*time.Hour + 1)}, "timeout", "43200s"},
		"a priority above 9":          {&taskv1.TaskOptions{Priority: 10}, "priority", "from 0 to 9"},
		"an expiry below 1 ms":        {&taskv1.TaskOptions{Expiry: dur(1)}, "expiry", ""},
		"a retention above a year":    {&taskv1.TaskOptions{Retention: dur(366 * 24 * time.Hour)}, "retention", ""},
		"a negative queue limit":      {&taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: -1}}, "queue_limit.max_length", ""},
		"an unknown overflow":         {&taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{Overflow: 9}}, "queue_limit.overflow", "warren.task.v1.Overflow, 9"},
		"an overflow without limit":   {&taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{Overflow: taskv1.Overflow_OVERFLOW_DEAD_LETTER}}, "queue_limit.max_length", "must be set"},
		"negative attempts":           {retrying(&taskv1.RetryPolicy{MaxAttempts: -1}), "retry.max_attempts", ""},
		"too many attempts":           {retrying(&taskv1.RetryPolicy{MaxAttempts: 1001}), "retry.max_attempts", "1000"},
		"a budget of nothing":         {retrying(&taskv1.RetryPolicy{Budget: dur(0)}), "retry.budget", ""},
		"a budget above 90 days":      {retrying(&taskv1.RetryPolicy{Budget: dur(91 * 24 * time.Hour)}), "retry.budget", ""},
		"a budget below the wait":     {retrying(&taskv1.RetryPolicy{Budget: dur(time.Second), Backoff: fixed(time.Minute, none)}), "retry.budget", "1m0s"},
		"a budget below every wait":   {retrying(&taskv1.RetryPolicy{Budget: dur(time.Millisecond)}), "retry.budget", "10ms"},
		"an unknown jitter":           {backoff(&taskv1.Backoff{Jitter: 7}), "retry.backoff.jitter", "warren.task.v1.Jitter, 7"},
		"a fixed wait below 10 ms":    {backoff(fixed(9*time.Millisecond, 0)), "retry.backoff.fixed", ""},
		"no fixed wait":               {backoff(&taskv1.Backoff{Kind: &taskv1.Backoff_Fixed{}}), "retry.backoff.fixed", ""},
		"an empty list":               {backoff(list(0)), "retry.backoff.list.delays", ""},
		"no list":                     {backoff(&taskv1.Backoff{Kind: &taskv1.Backoff_List{}}), "retry.backoff.list.delays", ""},
		"an element above 24 h":       {backoff(list(0, time.Second, 25*time.Hour)), "retry.backoff.list.delays[1]", ""},
		"an element that is none":     {backoff(&taskv1.Backoff{Kind: &taskv1.Backoff_List{List: &taskv1.DelayList{Delays: []*durationpb.Duration{dur(time.Second), {Nanos: 2e9}}}}}), "retry.backoff.list.delays[1]", "Duration"},
		"a multiplier below 1":        {backoff(exponential(&taskv1.ExponentialBackoff{Multiplier: 0.5}, 0)), "retry.backoff.exponential.multiplier", "from 1 to 100"},
		"a multiplier above 100":      {backoff(exponential(&taskv1.ExponentialBackoff{Multiplier: 101}, 0)), "retry.backoff.exponential.multiplier", ""},
		"a multiplier of no number":   {backoff(exponential(&taskv1.ExponentialBackoff{Multiplier: math.NaN()}, 0)), "retry.backoff.exponential.multiplier", ""},
		"a maximum below initial":     {backoff(exponential(&taskv1.ExponentialBackoff{Initial: dur(time.Minute), Max: dur(time.Second)}, 0)), "retry.backoff.exponential.max", "at least initial, which is 1m0s"},
		"a maximum below the default": {backoff(exponential(&taskv1.ExponentialBackoff{Max: dur(20 * time.Millisecond)}, 0)), "retry.backoff.exponential.max", "1s by default"},
		"the default below initial":   {backoff(exponential(&taskv1.ExponentialBackoff{Initial: dur(time.Hour)}, 0)), "retry.backoff.exponential.max", "its default, 10m0s, is less than initial, 1h0m0s"},

		"a rule without action":           {rules(rule(retry, "ABORTED"), rule(0, "INTERNAL")), "retry.rules[1].action", "must be set"},
		"an unknown action":               {rules(rule(9, "ABORTED")), "retry.rules[0].action", "warren.task.v1.RetryAction, 9"},
		"a code that is none":             {rules(rule(retry, "ABORTED", "OFFLINE")), "retry.rules[0].codes[1]", `"OFFLINE" is not the name`},
		"a code in Go's spelling":         {rules(rule(retry, "Unavailable")), "retry.rules[0].codes[0]", "e.g. UNAVAILABLE"},
		"OK":                              {rules(rule(retry, "OK")), "retry.rules[0].codes[0]", "not a failure"},
		"a rule for all that is not last": {rules(rule(dead, "ABORTED"), rule(retry), rule(dead, "INTERNAL")), "retry.rules[1]", "matches every failure, so that rule 3 after it never decides"},
		"a rule that another one covers":  {rules(rule(dead, "ABORTED", "INTERNAL"), &taskv1.RetryRule{Codes: []string{"ABORTED"}, Reason: "X", Action: retry}), "retry.rules[0]", "matches code ABORTED or INTERNAL, so that rule 2"},
		"the same reason twice":           {rules(&taskv1.RetryRule{Reason: "X", Action: dead}, &taskv1.RetryRule{Reason: "X", Domain: "d", Action: retry}), "retry.rules[0]", "matches reason X"},
		"retrying UNIMPLEMENTED":          {rules(rule(retry, "UNIMPLEMENTED")), "retry.rules[0].codes", "never retried"},
		"ignoring UNIMPLEMENTED":          {rules(rule(ignore, "UNIMPLEMENTED")), "retry.rules[0].codes", "never retried"},
		"retrying what is too large":      {rules(&taskv1.RetryRule{Domain: "warren", Reason: "RESULT_TOO_LARGE", Action: retry}), "retry.rules[0].reason", "never retried"},
		"a reason that is too long":       {rules(&taskv1.RetryRule{Reason: string(make([]byte, 64)), Action: retry}), "retry.rules[0].reason", ""},
		"at most once with attempts":      {once(&taskv1.RetryPolicy{MaxAttempts: 2}), "retry.max_attempts", "must be 1, because the type runs at most once"},
		"at most once with RETRY":         {once(&taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{rule(dead, "ABORTED"), rule(retry)}}), "retry.rules[1].action", "at most once"},
		"at most once with ignoring":      {once(&taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{rule(ignore)}}), "retry.rules[0].action", "at most once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireField(t, policy.Validate(tc.options), tc.field, tc.problem)
		})
	}
}

func TestValidateNamesTheFirstField(t *testing.T) {
	t.Parallel()
	requireField(t, policy.Validate(&taskv1.TaskOptions{Timeout: dur(0), Priority: 11}), "timeout", "")
}

func TestValidateDoesNotModify(t *testing.T) {
	t.Parallel()
	o := retrying(&taskv1.RetryPolicy{Backoff: exponential(&taskv1.ExponentialBackoff{Max: dur(time.Minute)}, 0)})
	before := proto.CloneOf(o)
	require.NoError(t, policy.Validate(o))
	requireEqual(t, before, o)
}

package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

// inOneSecond is the time of the next attempt by the steady policy.
var inOneSecond = start.Add(time.Minute + time.Second)

func TestDecideByCode(t *testing.T) {
	t.Parallel()
	p := compiled(t, steady(nil))
	retryable := map[int]string{
		2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 8: "RESOURCE_EXHAUSTED", 10: "ABORTED", 13: "INTERNAL", 14: "UNAVAILABLE",
	}
	for code := -1; code < 20; code++ {
		d := p.Decide(attempt(2, failed(codes.Code(uint32(code)))))
		if name, ok := retryable[code]; ok {
			require.Equal(t, policy.Decision{
				Retry: true, NextAttempt: 3, At: inOneSecond,
				Why: "attempt 2 of 5: " + name + " is retryable, next in 1 s",
			}, d)
		} else {
			require.Equal(t, policy.Decision{Cause: task.CausePermanentFailure, Why: d.Why}, d)
		}
	}
	for code, why := range map[int]string{
		5:          "NOT_FOUND is not retryable",
		12:         "UNIMPLEMENTED is never retryable",
		1:          "CANCELLED is not retryable",
		99:         "code 99 is not retryable",
		1<<32 | 14: "code 4294967310 is not retryable",
	} {
		d := p.Decide(attempt(1, &task.Failure{Code: code}))
		require.False(t, d.Retry)
		require.Equal(t, "attempt 1 of 5: "+why, d.Why)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	withRules := func(r ...*taskv1.RetryRule) *taskv1.TaskOptions {
		return steady(func(o *taskv1.TaskOptions) { o.Retry.Rules = r })
	}
	soldOut := &taskv1.RetryRule{Codes: []string{"NOT_FOUND", "ABORTED"}, Reason: "SOLD_OUT", Domain: "acme.example", Action: retry}
	longBudget := steady(func(o *taskv1.TaskOptions) { o.Retry.Budget = dur(24 * time.Hour) })
	with := func(a policy.Attempt, change func(*policy.Attempt)) policy.Attempt {
		change(&a)
		return a
	}
	advised := func(n int, f *task.Failure, advice task.Advice, d time.Duration) policy.Attempt {
		return with(attempt(n, f), func(a *policy.Attempt) { a.Advice, a.Delay = advice, d })
	}
	malformed := failed(codes.Aborted, info("X", "d"), retryInfo(30*time.Second))
	malformed.Details = append([]task.Detail{
		{TypeURL: "type.googleapis.com/google.rpc.ErrorInfo", Value: []byte("\xff\xff\xff")},
		{TypeURL: "type.googleapis.com/google.rpc.RetryInfo", Value: []byte("\x0a\x7f")},
		{TypeURL: "", Value: []byte("x")}, {TypeURL: "google.rpc.ErrorInfo/"},
	}, malformed.Details...)

	for name, tc := range map[string]struct {
		options *taskv1.TaskOptions
		attempt policy.Attempt
		// The next attempt and its wait; 0 for none.
		next  int
		wait  time.Duration
		cause task.Cause
		why   string
	}{
		"a timeout":    {nil, attempt(1, ended(task.KindTimeout, codes.DeadlineExceeded)), 2, time.Second, 0, "attempt 1 of 5: the attempt timed out: DEADLINE_EXCEEDED is retryable, next in 1 s"},
		"a panic":      {nil, attempt(1, ended(task.KindPanic, codes.Internal)), 2, time.Second, 0, "attempt 1 of 5: the handler panicked: INTERNAL is retryable, next in 1 s"},
		"a crash":      {nil, attempt(1, ended(task.KindCrash, codes.Unavailable)), 2, time.Second, 0, "attempt 1 of 5: the worker crashed, next in 1 s"},
		"no kind":      {nil, attempt(1, ended(0, codes.Aborted)), 2, time.Second, 0, "attempt 1 of 5: ABORTED is retryable, next in 1 s"},
		"attempt 0":    {nil, attempt(0, failed(codes.Aborted)), 2, time.Second, 0, "attempt 1 of 5: ABORTED is retryable, next in 1 s"},
		"next to last": {nil, attempt(4, failed(codes.Unavailable)), 5, time.Second, 0, "attempt 4 of 5: UNAVAILABLE is retryable, next in 1 s"},

		"the last attempt":          {nil, attempt(5, failed(codes.Unavailable)), 0, 0, task.CauseAttemptsExhausted, "attempt 5 of 5: UNAVAILABLE is retryable, but no attempts are left"},
		"beyond the last attempt":   {nil, attempt(7, failed(codes.Unavailable)), 0, 0, task.CauseAttemptsExhausted, "attempt 7 of 5: UNAVAILABLE is retryable, but no attempts are left"},
		"the last one, permanent":   {nil, attempt(5, failed(codes.NotFound)), 0, 0, task.CausePermanentFailure, "attempt 5 of 5: NOT_FOUND is not retryable"},
		"the last one, a crash":     {nil, attempt(5, ended(task.KindCrash, codes.Unavailable)), 0, 0, task.CauseDeliveryLimit, "attempt 5 of 5: the worker crashed, but no attempts are left"},
		"the last one, with advice": {nil, advised(5, failed(codes.NotFound), task.AdviceRetryAfter, time.Second), 0, 0, task.CauseAttemptsExhausted, "attempt 5 of 5: NOT_FOUND is retryable, as the handler said, but no attempts are left"},

		"an undecodable payload": {withRules(rule(retry)), attempt(1, failed(codes.InvalidArgument, info("PAYLOAD_UNDECODABLE", "warren"), retryInfo(time.Second))), 0, 0, task.CauseUndecodable, "attempt 1 of 5: INVALID_ARGUMENT is permanent: PAYLOAD_UNDECODABLE"},
		"an undecodable message": {nil, advised(1, failed(codes.Unavailable, info("MESSAGE_UNDECODABLE", "warren")), task.AdviceRetryAfter, time.Second), 0, 0, task.CauseUndecodable, "attempt 1 of 5: UNAVAILABLE is permanent: MESSAGE_UNDECODABLE"},
		"a result too large":     {withRules(rule(ignore)), attempt(1, failed(codes.ResourceExhausted, info("RESULT_TOO_LARGE", "warren"))), 0, 0, task.CausePermanentFailure, "attempt 1 of 5: RESOURCE_EXHAUSTED is permanent: RESULT_TOO_LARGE"},
		"a stream too large":     {nil, attempt(5, failed(codes.ResourceExhausted, info("X", "d"), info("STREAM_TOO_LARGE", "warren"))), 0, 0, task.CausePermanentFailure, "attempt 5 of 5: RESOURCE_EXHAUSTED is permanent: STREAM_TOO_LARGE"},
		"somebody else's reason": {nil, attempt(1, failed(codes.ResourceExhausted, info("STREAM_TOO_LARGE", "acme.example"))), 2, time.Second, 0, "attempt 1 of 5: RESOURCE_EXHAUSTED is retryable, next in 1 s"},
		"UNIMPLEMENTED":          {withRules(rule(retry)), advised(1, failed(codes.Unimplemented, retryInfo(time.Second)), task.AdviceRetryAfter, time.Second), 0, 0, task.CausePermanentFailure, "attempt 1 of 5: UNIMPLEMENTED is never retryable"},
		"committed":              {withRules(rule(retry)), with(attempt(1, failed(codes.Unavailable)), func(a *policy.Attempt) { a.Committed = true }), 0, 0, task.CausePermanentFailure, "attempt 1 of 5: a message of its stream has reached the caller, so it is not retried"},

		"Permanent":              {withRules(rule(retry)), advised(1, failed(codes.Unavailable), task.AdvicePermanent, 0), 0, 0, task.CausePermanentFailure, "attempt 1 of 5: UNAVAILABLE is permanent, as the handler said"},
		"RetryAfter":             {nil, advised(2, failed(codes.NotFound), task.AdviceRetryAfter, 90*time.Second), 3, 90 * time.Second, 0, "attempt 2 of 5: NOT_FOUND is retryable, as the handler said, RetryAfter asked for 1.5 min"},
		"RetryAfter over a rule": {withRules(rule(dead)), advised(2, failed(codes.NotFound), task.AdviceRetryAfter, time.Minute), 3, time.Minute, 0, "attempt 2 of 5: NOT_FOUND is retryable, as the handler said, RetryAfter asked for 1 min"},
		"RetryAfter, RetryInfo":  {nil, advised(2, failed(codes.NotFound, retryInfo(time.Second)), task.AdviceRetryAfter, time.Minute), 3, time.Minute, 0, "attempt 2 of 5: NOT_FOUND is retryable, as the handler said, RetryAfter asked for 1 min"},
		"RetryAfter a day":       {nil, advised(2, failed(codes.NotFound), task.AdviceRetryAfter, 36*time.Hour), 3, 24 * time.Hour, 0, "attempt 2 of 5: NOT_FOUND is retryable, as the handler said, RetryAfter asked for 36 h, cut to 24 h"},
		"RetryAfter at once":     {nil, advised(2, failed(codes.NotFound), task.AdviceRetryAfter, 0), 3, 10 * time.Millisecond, 0, "attempt 2 of 5: NOT_FOUND is retryable, as the handler said, RetryAfter asked for 0 s, raised to 10 ms"},
		"RetryAfter in the past": {nil, advised(2, failed(codes.NotFound), task.AdviceRetryAfter, -time.Hour), 3, 10 * time.Millisecond, 0, "attempt 2 of 5: NOT_FOUND is retryable, as the handler said, RetryAfter asked for -1 h, raised to 10 ms"},
		"Snooze":                 {nil, advised(2, nil, task.AdviceSnooze, time.Hour), 2, time.Hour, 0, "attempt 2 of 5: the handler asked to be called again later, the attempt is not spent, Snooze asked for 1 h"},
		"Snooze with a failure":  {withRules(rule(dead)), advised(2, failed(codes.Unknown), task.AdviceSnooze, time.Hour), 2, time.Hour, 0, "attempt 2 of 5: the handler asked to be called again later, the attempt is not spent, Snooze asked for 1 h"},
		"Snooze in the last":     {nil, advised(5, nil, task.AdviceSnooze, time.Hour), 5, time.Hour, 0, "attempt 5 of 5: the handler asked to be called again later, the attempt is not spent, Snooze asked for 1 h"},
		"Snooze beyond the last": {nil, advised(6, nil, task.AdviceSnooze, time.Hour), 0, 0, task.CauseAttemptsExhausted, "attempt 6 of 5: the handler asked to be called again later, the attempt is not spent, but no attempts are left"},
		"Snooze two days":        {nil, advised(2, nil, task.AdviceSnooze, 49*time.Hour), 2, 24 * time.Hour, 0, "attempt 2 of 5: the handler asked to be called again later, the attempt is not spent, Snooze asked for 2 days, cut to 24 h"},
		"Snooze the 1000th time": {nil, with(advised(2, nil, task.AdviceSnooze, time.Hour), func(a *policy.Attempt) { a.Ignored = 999 }), 2, time.Hour, 0, "attempt 2 of 5: the handler asked to be called again later, the attempt is not spent, Snooze asked for 1 h"},
		"Snooze the 1001st time": {nil, with(advised(2, nil, task.AdviceSnooze, time.Hour), func(a *policy.Attempt) { a.Ignored = 1000 }), 3, time.Hour, 0, "attempt 2 of 5: the handler asked to be called again later, the attempt is spent all the same after 1,000 executions that spent none, Snooze asked for 1 h"},
		"Snooze for good":        {nil, with(advised(5, nil, task.AdviceSnooze, time.Hour), func(a *policy.Attempt) { a.Ignored = 1000 }), 0, 0, task.CauseAttemptsExhausted, "attempt 5 of 5: the handler asked to be called again later, the attempt is spent all the same after 1,000 executions that spent none, but no attempts are left"},

		"RetryInfo":              {nil, attempt(2, failed(codes.Unavailable, retryInfo(30*time.Second))), 3, 30 * time.Second, 0, "attempt 2 of 5: UNAVAILABLE is retryable, RetryInfo asked for 30 s"},
		"RetryInfo of two days":  {nil, attempt(2, failed(codes.Unavailable, retryInfo(48*time.Hour))), 3, 24 * time.Hour, 0, "attempt 2 of 5: UNAVAILABLE is retryable, RetryInfo asked for 2 days, cut to 24 h"},
		"RetryInfo of nothing":   {nil, attempt(2, failed(codes.Unavailable, retryInfo(0))), 3, 10 * time.Millisecond, 0, "attempt 2 of 5: UNAVAILABLE is retryable, RetryInfo asked for 0 s, raised to 10 ms"},
		"RetryInfo without one":  {nil, attempt(2, failed(codes.Unavailable, &errdetails.RetryInfo{})), 3, time.Second, 0, "attempt 2 of 5: UNAVAILABLE is retryable, next in 1 s"},
		"RetryInfo, not valid":   {nil, attempt(2, failed(codes.Unavailable, &errdetails.RetryInfo{RetryDelay: &durationpb.Duration{Nanos: 2e9}}, retryInfo(2*time.Second))), 3, 2 * time.Second, 0, "attempt 2 of 5: UNAVAILABLE is retryable, RetryInfo asked for 2 s"},
		"RetryInfo of permanent": {nil, attempt(2, failed(codes.NotFound, retryInfo(30*time.Second))), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: NOT_FOUND is not retryable"},
		"RetryInfo by a rule":    {withRules(rule(ignore, "NOT_FOUND")), attempt(2, failed(codes.NotFound, retryInfo(30*time.Second))), 2, 30 * time.Second, 0, "attempt 2 of 5: NOT_FOUND is ignored by rule 1 of 1 (code NOT_FOUND), the attempt is not spent, RetryInfo asked for 30 s"},
		"malformed details":      {withRules(&taskv1.RetryRule{Reason: "X", Action: ignore}), attempt(2, malformed), 2, 30 * time.Second, 0, "attempt 2 of 5: ABORTED is ignored by rule 1 of 1 (reason X), the attempt is not spent, RetryInfo asked for 30 s"},

		"rule RETRY":                 {withRules(rule(dead, "ABORTED"), rule(retry, "NOT_FOUND", "OUT_OF_RANGE")), attempt(2, failed(codes.NotFound)), 3, time.Second, 0, "attempt 2 of 5: NOT_FOUND is retryable by rule 2 of 2 (code NOT_FOUND or OUT_OF_RANGE), next in 1 s"},
		"rule DEAD_LETTER":           {withRules(rule(dead, "ABORTED")), attempt(2, failed(codes.Aborted)), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: ABORTED is permanent by rule 1 of 1 (code ABORTED)"},
		"rule IGNORE_ATTEMPT":        {withRules(rule(ignore, "ABORTED")), attempt(5, failed(codes.Aborted)), 5, time.Second, 0, "attempt 5 of 5: ABORTED is ignored by rule 1 of 1 (code ABORTED), the attempt is not spent, next in 1 s"},
		"ignored 1000 times":         {withRules(rule(ignore)), with(attempt(2, failed(codes.Aborted)), func(a *policy.Attempt) { a.Ignored = 1000 }), 3, time.Second, 0, "attempt 2 of 5: ABORTED is ignored by rule 1 of 1 (every failure), the attempt is spent all the same after 1,000 executions that spent none, next in 1 s"},
		"a crash is not ignored":     {withRules(rule(ignore)), attempt(2, ended(task.KindCrash, codes.Unavailable)), 3, time.Second, 0, "attempt 2 of 5: the worker crashed: UNAVAILABLE is ignored by rule 1 of 1 (every failure), but a crash always spends its attempt, next in 1 s"},
		"a crash that is given up":   {withRules(rule(dead, "UNAVAILABLE")), attempt(2, ended(task.KindCrash, codes.Unavailable)), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: the worker crashed: UNAVAILABLE is permanent by rule 1 of 1 (code UNAVAILABLE)"},
		"a timeout that is given up": {withRules(rule(dead, "DEADLINE_EXCEEDED")), attempt(2, ended(task.KindTimeout, codes.DeadlineExceeded)), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: the attempt timed out: DEADLINE_EXCEEDED is permanent by rule 1 of 1 (code DEADLINE_EXCEEDED)"},
		"the first rule decides":     {withRules(rule(retry, "NOT_FOUND"), rule(dead)), attempt(2, failed(codes.NotFound)), 3, time.Second, 0, "attempt 2 of 5: NOT_FOUND is retryable by rule 1 of 2 (code NOT_FOUND), next in 1 s"},
		"code, reason and domain":    {withRules(soldOut), attempt(2, failed(codes.NotFound, info("X", "d"), info("SOLD_OUT", "acme.example"))), 3, time.Second, 0, "attempt 2 of 5: NOT_FOUND is retryable by rule 1 of 1 (code NOT_FOUND or ABORTED, reason SOLD_OUT, domain acme.example), next in 1 s"},
		"another code":               {withRules(soldOut), attempt(2, failed(codes.DataLoss, info("SOLD_OUT", "acme.example"))), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: DATA_LOSS is not retryable"},
		"another reason":             {withRules(soldOut), attempt(2, failed(codes.NotFound, info("SOLD", "acme.example"))), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: NOT_FOUND is not retryable"},
		"another domain":             {withRules(soldOut), attempt(2, failed(codes.NotFound, info("SOLD_OUT", "acme"))), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: NOT_FOUND is not retryable"},
		"reason here, domain there":  {withRules(soldOut), attempt(2, failed(codes.NotFound, info("SOLD_OUT", "acme"), info("X", "acme.example"))), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: NOT_FOUND is not retryable"},
		"no details":                 {withRules(&taskv1.RetryRule{Domain: "acme", Action: dead}), attempt(2, failed(codes.Aborted)), 3, time.Second, 0, "attempt 2 of 5: ABORTED is retryable, next in 1 s"},
		"a domain alone":             {withRules(&taskv1.RetryRule{Domain: "acme", Action: dead}), attempt(2, failed(codes.Aborted, info("X", "acme"))), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: ABORTED is permanent by rule 1 of 1 (domain acme)"},

		"the budget is spent":      {nil, with(attempt(2, failed(codes.Aborted)), func(a *policy.Attempt) { a.Now = start.Add(7 * 24 * time.Hour) }), 0, 0, task.CauseAttemptsExhausted, "attempt 2 of 5: ABORTED is retryable, but the budget of 7 days is spent"},
		"the budget's last moment": {nil, with(attempt(2, failed(codes.Aborted)), func(a *policy.Attempt) { a.Now = start.Add(7*24*time.Hour - time.Second) }), 3, time.Second, 0, "attempt 2 of 5: ABORTED is retryable, next in 1 s"},
		"a snooze past the budget": {longBudget, advised(2, nil, task.AdviceSnooze, 24*time.Hour), 0, 0, task.CauseAttemptsExhausted, "attempt 2 of 5: the handler asked to be called again later, the attempt is not spent, but the budget of 24 h is spent"},
		"RetryInfo past it":        {longBudget, attempt(2, failed(codes.Aborted, retryInfo(24*time.Hour))), 0, 0, task.CauseAttemptsExhausted, "attempt 2 of 5: ABORTED is retryable, but the budget of 24 h is spent"},
		"a crash past the budget":  {longBudget, with(attempt(2, ended(task.KindCrash, codes.Unavailable)), func(a *policy.Attempt) { a.Now = start.Add(48 * time.Hour) }), 0, 0, task.CauseAttemptsExhausted, "attempt 2 of 5: the worker crashed, but the budget of 24 h is spent"},
		"an unknown beginning":     {longBudget, with(attempt(2, failed(codes.Aborted)), func(a *policy.Attempt) { a.RunTime = time.Time{} }), 3, time.Second, 0, "attempt 2 of 5: ABORTED is retryable, next in 1 s"},
		"expired":                  {nil, with(attempt(2, failed(codes.Aborted)), func(a *policy.Attempt) { a.ExpireTime = inOneSecond }), 0, 0, task.CauseExpired, "attempt 2 of 5: ABORTED is retryable, but the next attempt would be due after its expire time"},
		"not yet expired":          {nil, with(attempt(2, failed(codes.Aborted)), func(a *policy.Attempt) { a.ExpireTime = inOneSecond.Add(1) }), 3, time.Second, 0, "attempt 2 of 5: ABORTED is retryable, next in 1 s"},
		"a snooze past expiry":     {nil, with(advised(2, nil, task.AdviceSnooze, time.Hour), func(a *policy.Attempt) { a.ExpireTime = inOneSecond }), 0, 0, task.CauseExpired, "attempt 2 of 5: the handler asked to be called again later, the attempt is not spent, but the next attempt would be due after its expire time"},
		"no attempts, and expired": {nil, with(attempt(5, failed(codes.Aborted)), func(a *policy.Attempt) { a.ExpireTime = start }), 0, 0, task.CauseAttemptsExhausted, "attempt 5 of 5: ABORTED is retryable, but no attempts are left"},
		"permanent, and expired":   {nil, with(attempt(2, failed(codes.NotFound)), func(a *policy.Attempt) { a.ExpireTime = start }), 0, 0, task.CausePermanentFailure, "attempt 2 of 5: NOT_FOUND is not retryable"},

		"at most once":             {once(nil), attempt(1, failed(codes.Unavailable)), 0, 0, task.CauseAttemptsExhausted, "attempt 1 of 1: UNAVAILABLE is retryable, but the type runs at most once"},
		"at most once, permanent":  {once(nil), attempt(1, failed(codes.NotFound)), 0, 0, task.CausePermanentFailure, "attempt 1 of 1: NOT_FOUND is not retryable"},
		"at most once, a crash":    {once(nil), attempt(1, ended(task.KindCrash, codes.Unavailable)), 0, 0, task.CauseDeliveryLimit, "attempt 1 of 1: the worker crashed, but the type runs at most once"},
		"at most once, Snooze":     {once(nil), advised(1, nil, task.AdviceSnooze, time.Minute), 0, 0, task.CausePermanentFailure, "attempt 1 of 1: the handler asked to be called again later, but the type runs at most once"},
		"at most once, RetryAfter": {once(nil), advised(1, failed(codes.NotFound), task.AdviceRetryAfter, time.Minute), 0, 0, task.CauseAttemptsExhausted, "attempt 1 of 1: NOT_FOUND is retryable, as the handler said, but the type runs at most once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.options == nil {
				tc.options = steady(nil)
			}
			want := policy.Decision{Cause: tc.cause, Why: tc.why}
			if tc.next > 0 {
				want.Retry, want.NextAttempt, want.At = true, tc.next, tc.attempt.Now.Add(tc.wait)
			}
			require.Equal(t, want, compiled(t, tc.options).Decide(tc.attempt))
		})
	}
}

func TestDecideDoesNotTouchTheFailure(t *testing.T) {
	t.Parallel()
	f := failed(codes.Aborted, info("X", "d"), retryInfo(time.Second))
	before := *f
	before.Details = append([]task.Detail(nil), f.Details...)
	compiled(t, nil).Decide(attempt(1, f))
	require.Equal(t, &before, f)
}

func TestWaits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		backoff *taskv1.Backoff
		// Waits after attempts.
		want map[int]time.Duration
	}{
		"default": {nil, map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 10: 512 * time.Second, 11: 10 * time.Minute, 1000: 10 * time.Minute}},
		"fixed":   {fixed(3*time.Second, none), map[int]time.Duration{1: 3 * time.Second, 1000: 3 * time.Second}},
		"list":    {list(none, time.Second, time.Hour, time.Minute), map[int]time.Duration{1: time.Second, 2: time.Hour, 3: time.Minute, 4: time.Minute, 1000: time.Minute}},
		"as steep as can be": {
			exponential(&taskv1.ExponentialBackoff{Initial: dur(10 * time.Millisecond), Multiplier: 100, Max: dur(24 * time.Hour)}, none),
			map[int]time.Duration{1: 10 * time.Millisecond, 2: time.Second, 3: 100 * time.Second, 4: 10000 * time.Second, 5: 24 * time.Hour, 155: 24 * time.Hour, 1000: 24 * time.Hour},
		},
		"flat":   {exponential(&taskv1.ExponentialBackoff{Multiplier: 1}, none), map[int]time.Duration{1: time.Second, 1000: time.Second}},
		"gentle": {exponential(&taskv1.ExponentialBackoff{Multiplier: 1.5}, none), map[int]time.Duration{2: 1500 * time.Millisecond, 3: 2250 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compiled(t, retrying(&taskv1.RetryPolicy{MaxAttempts: 1000, Backoff: tc.backoff}))
			for n, want := range tc.want {
				require.Equal(t, want, policy.WaitAfter(p, n), "after attempt %d", n)
			}
		})
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	const wait = time.Second
	a := attempt(1, failed(codes.Unavailable))
	p := compiled(t, retrying(&taskv1.RetryPolicy{Backoff: fixed(wait, full)}))
	at := func(random func(int64) int64) time.Duration {
		return policy.DecideWith(p, a, random).At.Sub(a.Now)
	}
	require.Equal(t, 10*time.Millisecond, at(func(int64) int64 { return 0 }))
	require.Equal(t, wait, at(func(n int64) int64 { return n - 1 }))
	require.Equal(t, 505*time.Millisecond, at(func(n int64) int64 { return n / 2 }))

	var sum time.Duration
	const draws = 10_000
	for range draws {
		d := p.Decide(a).At.Sub(a.Now)
		require.GreaterOrEqual(t, d, 10*time.Millisecond)
		require.LessOrEqual(t, d, wait)
		sum += d
	}
	// The mean of so many is off by 30 ms once in 10^23 times.
	require.InDelta(t, 505*time.Millisecond, sum/draws, float64(30*time.Millisecond))

	shortest := compiled(t, retrying(&taskv1.RetryPolicy{Backoff: fixed(10*time.Millisecond, full)}))
	require.Equal(t, a.Now.Add(10*time.Millisecond), shortest.Decide(a).At)
}

func TestDecideInTimeForManyDetails(t *testing.T) {
	t.Parallel()
	many := make([]proto.Message, 0, 1000)
	for range cap(many) {
		many = append(many, info(strings.Repeat("X", 20), "d"))
	}
	d := compiled(t, rules(&taskv1.RetryRule{Reason: "LAST", Action: dead})).Decide(attempt(1, failed(codes.Aborted, append(many, info("LAST", "d"))...)))
	require.Contains(t, d.Why, "rule 1 of 1 (reason LAST)")
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                          "0 s",
		time.Nanosecond:            "0.000001 ms",
		500 * time.Microsecond:     "0.5 ms",
		10 * time.Millisecond:      "10 ms",
		12340 * time.Microsecond:   "12.3 ms",
		999 * time.Millisecond:     "999 ms",
		999_960 * time.Microsecond: "1 s",
		time.Second:                "1 s",
		3421 * time.Millisecond:    "3.4 s",
		59_960 * time.Millisecond:  "1 min",
		2 * time.Minute:            "2 min",
		90 * time.Second:           "1.5 min",
		time.Hour - time.Second:    "1 h",
		90 * time.Minute:           "1.5 h",
		24 * time.Hour:             "24 h",
		48 * time.Hour:             "2 days",
		7 * 24 * time.Hour:         "7 days",
		1<<63 - 1:                  "106752 days",
		-1 << 63:                   "-106752 days",
	} {
		require.Equal(t, want, policy.Span(d), "%d", d)
	}
}

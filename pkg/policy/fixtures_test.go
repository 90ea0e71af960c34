package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	retry  = taskv1.RetryAction_RETRY_ACTION_RETRY
	dead   = taskv1.RetryAction_RETRY_ACTION_DEAD_LETTER
	ignore = taskv1.RetryAction_RETRY_ACTION_IGNORE_ATTEMPT

	none = taskv1.Jitter_JITTER_NONE
	full = taskv1.Jitter_JITTER_FULL
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func dur(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func fixed(d time.Duration, jitter taskv1.Jitter) *taskv1.Backoff {
	return &taskv1.Backoff{Kind: &taskv1.Backoff_Fixed{Fixed: dur(d)}, Jitter: jitter}
}

func list(jitter taskv1.Jitter, delays ...time.Duration) *taskv1.Backoff {
	l := new(taskv1.DelayList)
	for _, d := range delays {
		l.Delays = append(l.Delays, dur(d))
	}
	return &taskv1.Backoff{Kind: &taskv1.Backoff_List{List: l}, Jitter: jitter}
}

func exponential(e *taskv1.ExponentialBackoff, jitter taskv1.Jitter) *taskv1.Backoff {
	return &taskv1.Backoff{Kind: &taskv1.Backoff_Exponential{Exponential: e}, Jitter: jitter}
}

func retrying(r *taskv1.RetryPolicy) *taskv1.TaskOptions { return &taskv1.TaskOptions{Retry: r} }

func rules(r ...*taskv1.RetryRule) *taskv1.TaskOptions {
	return retrying(&taskv1.RetryPolicy{Rules: r})
}

func rule(action taskv1.RetryAction, codes ...string) *taskv1.RetryRule {
	return &taskv1.RetryRule{Codes: codes, Action: action}
}

// steady are options whose first wait is exactly one second.
func steady(change func(*taskv1.TaskOptions)) *taskv1.TaskOptions {
	o := retrying(&taskv1.RetryPolicy{Backoff: fixed(time.Second, none)})
	if change != nil {
		change(o)
	}
	return o
}

func compiled(t testing.TB, o *taskv1.TaskOptions) policy.Policy {
	t.Helper()
	require.NoError(t, policy.Validate(o))
	p, err := policy.Compile(policy.Effective(o, nil, nil))
	require.NoError(t, err)
	return p
}

func failed(c codes.Code, details ...proto.Message) *task.Failure {
	f := &task.Failure{Code: int(c), Message: "told", Kind: task.KindError}
	for _, d := range details {
		a, err := anypb.New(d)
		if err != nil {
			panic(err)
		}
		f.Details = append(f.Details, task.Detail{TypeURL: a.TypeUrl, Value: a.Value})
	}
	return f
}

func ended(kind task.FailureKind, c codes.Code) *task.Failure {
	f := failed(c)
	f.Kind = kind
	return f
}

func info(reason, domain string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: domain}
}

func retryInfo(d time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: dur(d)}
}

// attempt is attempt n of a run that began at start, which ends a minute later.
func attempt(n int, f *task.Failure) policy.Attempt {
	return policy.Attempt{Number: n, RunTime: start, Now: start.Add(time.Minute), Failure: f}
}

func requireField(t testing.TB, err error, field, problem string) {
	t.Helper()
	var wrong *policy.FieldError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, field, wrong.Field, "%v", err)
	require.Contains(t, wrong.Problem, problem)
	require.Equal(t, wrong.Field+": "+wrong.Problem, err.Error())
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	require.TestingT
	Helper()
}

func requireEqual(t tester, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

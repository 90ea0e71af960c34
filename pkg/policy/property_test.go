package policy_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

var paths = []string{
	"timeout", "priority", "retry", "retry.max_attempts", "retry.backoff", "retry.budget", "retry.rules",
	"at_most_once", "expiry", "queue_limit", "queue_limit.max_length", "queue_limit.overflow", "retention", "allow_incompatible",
}

func maybe[T any](g *rapid.Generator[*T]) *rapid.Generator[*T] {
	return rapid.OneOf(rapid.Just[*T](nil), g)
}

func between(low, high time.Duration) *rapid.Generator[*durationpb.Duration] {
	return rapid.Map(rapid.Int64Range(int64(low), int64(high)), func(n int64) *durationpb.Duration { return dur(time.Duration(n)) })
}

// wait are the waits that a backoff may name.
func wait() *rapid.Generator[*durationpb.Duration] { return between(policy.MinDelay, policy.MaxDelay) }

// Generators are made where they are drawn from: tests run in parallel, and a
// rapid.Generator is not for several goroutines.

func anyBackoff(t *rapid.T) *taskv1.Backoff {
	jitter := rapid.SampledFrom([]taskv1.Jitter{0, none, full}).Draw(t, "jitter")
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return &taskv1.Backoff{Kind: &taskv1.Backoff_Fixed{Fixed: wait().Draw(t, "fixed")}, Jitter: jitter}
	case 1:
		delays := rapid.SliceOfN(wait(), 1, 5).Draw(t, "delays")
		return &taskv1.Backoff{Kind: &taskv1.Backoff_List{List: &taskv1.DelayList{Delays: delays}}, Jitter: jitter}
	case 2:
		return exponential(&taskv1.ExponentialBackoff{
			Initial:    maybe(wait()).Draw(t, "initial"),
			Multiplier: rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(1, 100)).Draw(t, "multiplier"),
			Max:        maybe(wait()).Draw(t, "max"),
		}, jitter)
	}
	return &taskv1.Backoff{Jitter: jitter}
}

func anyRule(t *rapid.T) *taskv1.RetryRule {
	return &taskv1.RetryRule{
		Codes:  rapid.SliceOfN(rapid.SampledFrom([]string{"UNAVAILABLE", "NOT_FOUND", "ABORTED", "UNIMPLEMENTED", "DATA_LOSS"}), 0, 3).Draw(t, "codes"),
		Reason: rapid.SampledFrom([]string{"", "A", "RESULT_TOO_LARGE"}).Draw(t, "reason"),
		Domain: rapid.SampledFrom([]string{"", "d", "warren"}).Draw(t, "domain"),
		Action: rapid.SampledFrom([]taskv1.RetryAction{retry, dead, ignore}).Draw(t, "action"),
	}
}

// anyOptions mostly make sense.
func anyOptions(t *rapid.T) *taskv1.TaskOptions {
	o := &taskv1.TaskOptions{
		Timeout:   maybe(between(1, 12*time.Hour)).Draw(t, "timeout"),
		Priority:  taskv1.Priority(rapid.Int32Range(0, 9).Draw(t, "priority")),
		Expiry:    maybe(between(time.Millisecond, time.Hour)).Draw(t, "expiry"),
		Retention: maybe(between(time.Second, time.Hour)).Draw(t, "retention"),
	}
	if rapid.IntRange(0, 3).Draw(t, "once") == 0 {
		o.AtMostOnce = proto.Bool(rapid.Bool().Draw(t, "at_most_once"))
	}
	if rapid.Bool().Draw(t, "limited") {
		o.QueueLimit = &taskv1.QueueLimit{
			MaxLength: rapid.Int64Range(0, 9).Draw(t, "max_length"), Overflow: taskv1.Overflow(rapid.Int32Range(0, 2).Draw(t, "overflow")),
		}
	}
	if rapid.Bool().Draw(t, "retried") {
		o.Retry = &taskv1.RetryPolicy{
			MaxAttempts: rapid.Int32Range(0, 1000).Draw(t, "max_attempts"),
			Backoff:     maybe(rapid.Custom(anyBackoff)).Draw(t, "backoff"),
			Budget:      maybe(between(1, 90*24*time.Hour)).Draw(t, "budget"),
			Rules:       rapid.SliceOfN(rapid.Custom(anyRule), 0, 3).Draw(t, "rules"),
		}
	}
	return o
}

// validOptions make sense.
func validOptions() *rapid.Generator[*taskv1.TaskOptions] {
	return rapid.Custom(anyOptions).Filter(func(o *taskv1.TaskOptions) bool { return policy.Validate(o) == nil })
}

func anyFailure(t *rapid.T) *task.Failure {
	f := failed(codes.Code(rapid.Uint32Range(1, 17).Draw(t, "code")))
	f.Kind = task.FailureKind(rapid.IntRange(0, 4).Draw(t, "kind"))
	if rapid.Bool().Draw(t, "informed") {
		i := info(rapid.SampledFrom([]string{"A", "RESULT_TOO_LARGE", "PAYLOAD_UNDECODABLE"}).Draw(t, "reason"),
			rapid.SampledFrom([]string{"d", "warren"}).Draw(t, "domain"))
		f.Details = append(f.Details, failed(1, i).Details...)
	}
	if rapid.Bool().Draw(t, "delayed") {
		d := retryInfo(time.Duration(rapid.Int64().Draw(t, "delay")))
		f.Details = append(f.Details, failed(1, d).Details...)
	}
	return f
}

func anyAttempt(t *rapid.T) policy.Attempt {
	a := policy.Attempt{
		Number:    rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(1, 1100), rapid.Just(math.MaxInt)).Draw(t, "number"),
		Ignored:   rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 1001)).Draw(t, "ignored"),
		RunTime:   start,
		Now:       start.Add(time.Duration(rapid.Int64Range(0, int64(8*24*time.Hour)).Draw(t, "now"))),
		Failure:   maybe(rapid.Custom(anyFailure)).Draw(t, "failure"),
		Advice:    task.Advice(rapid.IntRange(0, 3).Draw(t, "advice")),
		Delay:     time.Duration(rapid.Int64().Draw(t, "asked")),
		Committed: rapid.IntRange(0, 9).Draw(t, "committed") == 0,
	}
	if rapid.Bool().Draw(t, "expires") {
		a.ExpireTime = start.Add(time.Duration(rapid.Int64Range(0, int64(9*24*time.Hour)).Draw(t, "expire")))
	}
	return a
}

func TestPropertiesOfDecide(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := validOptions().Draw(t, "options")
		a := anyAttempt(t)
		p, err := policy.Compile(o)
		require.NoError(t, err)
		d := p.Decide(a)
		require.NotEmpty(t, d.Why)
		require.Equal(t, d.Retry, d.Cause == 0, "either another attempt or a cause")
		if !d.Retry {
			require.Zero(t, d.NextAttempt)
			require.True(t, d.At.IsZero())
			return
		}
		require.False(t, d.At.Before(a.Now.Add(policy.MinDelay)))
		require.False(t, d.At.After(a.Now.Add(policy.MaxDelay)))
		require.LessOrEqual(t, d.NextAttempt, p.MaxAttempts())
		require.Contains(t, []int{a.Number, a.Number + 1}, d.NextAttempt)
		if d.NextAttempt == a.Number {
			require.Less(t, a.Ignored, policy.MaxIgnored)
		}
		require.False(t, d.At.After(a.RunTime.Add(policy.Effective(o, nil, nil).GetRetry().GetBudget().AsDuration())))
		require.True(t, a.ExpireTime.IsZero() || d.At.Before(a.ExpireTime))
		require.False(t, p.AtMostOnce())
		require.False(t, a.Committed)
		if a.Failure != nil {
			require.NotEqual(t, int(codes.Unimplemented), a.Failure.Code)
		}
	})
}

// A permanent code is never retried, unless a rule or the handler says so.
func TestPropertyOfPermanentCodes(t *testing.T) {
	t.Parallel()
	retryable := []codes.Code{codes.Unknown, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Internal, codes.Unavailable}
	rapid.Check(t, func(t *rapid.T) {
		o := validOptions().Draw(t, "options")
		if o.Retry != nil {
			o.Retry.Rules = nil
		}
		a := anyAttempt(t)
		a.Failure, a.Advice = anyFailure(t), 0
		p, err := policy.Compile(o)
		require.NoError(t, err)
		if d := p.Decide(a); d.Retry {
			require.True(t, a.Failure.Kind == task.KindCrash || slices.Contains(retryable, codes.Code(a.Failure.Code)))
		}
	})
}

// Every run ends: however an attempt fails, again and again.
func TestPropertyThatRunsEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, err := policy.Compile(validOptions().Draw(t, "options"))
		require.NoError(t, err)
		a := anyAttempt(t)
		a.Number, a.Ignored, a.Now, a.ExpireTime = 1, 0, start, time.Time{}
		for range p.MaxAttempts() + policy.MaxIgnored {
			d := p.Decide(a)
			if !d.Retry {
				return
			}
			if d.NextAttempt == a.Number {
				a.Ignored++
			}
			a.Number, a.Now = d.NextAttempt, d.At
		}
		t.Fatalf("not ended in attempt %d, %d ignored", a.Number, a.Ignored)
	})
}

func TestPropertiesOfEffective(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		declared, override := maybe(rapid.Custom(anyOptions)).Draw(t, "declared"), maybe(rapid.Custom(anyOptions)).Draw(t, "override")
		mask := rapid.SliceOf(rapid.SampledFrom(append(paths, "colour"))).Draw(t, "mask")
		got := policy.Effective(declared, override, mask)
		requireEqual(t, got, policy.Effective(got, nil, nil))
		requireEqual(t, got, policy.Effective(nil, got, paths))
		for _, m := range []proto.Message{got.Timeout, got.Retry.Budget, got.QueueLimit} {
			require.NotNil(t, m)
		}
		require.NotZero(t, got.Priority)
		require.NotNil(t, got.AtMostOnce)
		require.NotZero(t, got.Retry.MaxAttempts)
		require.NotNil(t, got.Retry.Backoff.Kind)
		require.NotZero(t, got.Retry.Backoff.Jitter)
		require.NotZero(t, got.QueueLimit.Overflow)
	})
}

// What an update sets is in force, what it does not set is as declared, and what
// it does not name is as it was.
func TestPropertiesOfOverride(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		declared := maybe(validOptions()).Draw(t, "declared")
		var override *taskv1.TaskOptions
		var covered []string
		for range rapid.IntRange(1, 4).Draw(t, "updates") {
			update := maybe(rapid.Custom(anyOptions)).Draw(t, "update")
			mask := rapid.SliceOfNDistinct(rapid.SampledFrom(paths), 1, 4, rapid.ID).Draw(t, "mask")
			next, nextPaths, err := policy.Override(declared, override, covered, update, mask)
			if err != nil {
				continue
			}
			before, after := policy.Effective(declared, override, covered), policy.Effective(declared, next, nextPaths)
			require.NoError(t, policy.Validate(after))
			requireUpdated(t, update, mask, declared, before, after)
			again, againPaths, err := policy.Override(declared, next, nextPaths, update, mask)
			require.NoError(t, err)
			requireEqual(t, next, again)
			require.Equal(t, nextPaths, againPaths)
			override, covered = next, nextPaths
		}
		if len(covered) > 0 {
			next, nextPaths, err := policy.Override(declared, override, covered, nil, covered)
			require.NoError(t, err)
			require.Nil(t, next)
			require.Empty(t, nextPaths)
		}
	})
}

func requireUpdated(t *rapid.T, update *taskv1.TaskOptions, mask []string, declared, before, after *taskv1.TaskOptions) {
	t.Helper()
	alone := policy.Effective(nil, update, paths)
	asDeclared := policy.Effective(declared, nil, nil)
	var set struct{ timeout, priority, attempts, rules, expiry bool }
	set.timeout, set.priority, set.expiry = update.GetTimeout() != nil, update.GetPriority() != 0, update.GetExpiry() != nil
	whole := slices.Contains(mask, "retry") && update.GetRetry() != nil
	set.attempts = update.GetRetry().GetMaxAttempts() != 0 || whole
	set.rules = len(update.GetRetry().GetRules()) > 0 || whole
	for _, f := range []struct {
		names []string
		set   bool
		get   func(*taskv1.TaskOptions) proto.Message
	}{
		{[]string{"timeout"}, set.timeout, func(o *taskv1.TaskOptions) proto.Message { return &taskv1.TaskOptions{Timeout: o.Timeout} }},
		{[]string{"priority"}, set.priority, func(o *taskv1.TaskOptions) proto.Message { return &taskv1.TaskOptions{Priority: o.Priority} }},
		{[]string{"expiry"}, set.expiry, func(o *taskv1.TaskOptions) proto.Message { return &taskv1.TaskOptions{Expiry: o.Expiry} }},
		{[]string{"retry", "retry.rules"}, set.rules, func(o *taskv1.TaskOptions) proto.Message { return rules(o.Retry.Rules...) }},
		{[]string{"retry", "retry.max_attempts"}, set.attempts, func(o *taskv1.TaskOptions) proto.Message {
			if o.GetAtMostOnce() || after.GetAtMostOnce() || before.GetAtMostOnce() {
				return nil
			}
			return retrying(&taskv1.RetryPolicy{MaxAttempts: o.Retry.MaxAttempts})
		}},
	} {
		want := before
		if slices.ContainsFunc(f.names, func(name string) bool { return slices.Contains(mask, name) }) {
			if want = asDeclared; f.set {
				want = alone
			}
		}
		if f.get(want) != nil && f.get(alone) != nil && f.get(asDeclared) != nil {
			requireEqual(t, f.get(want), f.get(after))
		}
	}
}

func TestPropertiesOfSubmission(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base, err := policy.Compile(validOptions().Draw(t, "options"))
		require.NoError(t, err)
		own := anyOptions(t)
		p, err := base.Submission(own.GetTimeout(), own.GetRetry())
		require.LessOrEqual(t, p.Timeout(), base.Timeout())
		require.Positive(t, p.Timeout())
		require.LessOrEqual(t, p.MaxAttempts(), base.MaxAttempts())
		require.Positive(t, p.MaxAttempts())
		require.Equal(t, base.AtMostOnce(), p.AtMostOnce())
		if err != nil {
			require.ErrorAs(t, err, new(*policy.FieldError))
			return
		}
		if d := own.GetTimeout(); d != nil {
			require.Equal(t, d.AsDuration(), p.Timeout())
		}
		if n := own.GetRetry().GetMaxAttempts(); n > 0 {
			require.EqualValues(t, n, p.MaxAttempts())
		}
		require.Empty(t, own.GetRetry().GetRules())
	})
}

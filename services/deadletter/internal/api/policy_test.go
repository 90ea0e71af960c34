package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const resize = "acme.v1.Images.Resize"

func (w *world) update(t *testing.T, p *deadletterv1.DeadLetterPolicy, etag string, paths ...string) (*deadletterv1.UpdateDeadLetterPolicyResponse, error) {
	t.Helper()
	return w.UpdateDeadLetterPolicy(t.Context(), &deadletterv1.UpdateDeadLetterPolicyRequest{
		Policy: p, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Etag: etag, Reason: "the law",
	})
}

func age(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func TestDeadLetterPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := w.GetDeadLetterPolicy(t.Context(), &deadletterv1.GetDeadLetterPolicyRequest{TaskType: resize})
	require.NoError(t, err)
	require.True(t, proto.Equal(&deadletterv1.DeadLetterPolicy{TaskType: resize, Etag: got.Policy.Etag}, got.Policy))
	unset := got.Policy.Etag
	const days = 24 * time.Hour
	require.True(t, proto.Equal(&deadletterv1.DeadLetterPolicy{
		TaskType: resize, WarnAge: age(0), BreachAge: age(0), OpenRetention: age(0), QuarantinedRetention: age(0),
		ResolvedRetention: age(30 * days), DiscardedRetention: age(30 * days), TombstoneRetention: age(90 * days),
		MaxReplays: proto.Int32(10), Hold: proto.Bool(false), Etag: unset,
	}, got.Effective), got.Effective)
	require.Len(t, got.Sources, 9)
	require.Equal(t, "default", got.Sources["hold"])

	_, err = w.update(t, &deadletterv1.DeadLetterPolicy{TaskType: "*", BreachAge: age(time.Hour), MaxReplays: proto.Int32(3)}, "", "breach_age", "max_replays")
	require.NoError(t, err)
	set, err := w.update(t, &deadletterv1.DeadLetterPolicy{
		TaskType: resize, WarnAge: age(time.Minute), MaxReplays: proto.Int32(0), Hold: proto.Bool(true), OpenRetention: age(days),
	}, unset, "warn_age", "max_replays", "hold")
	require.NoError(t, err)
	require.True(t, proto.Equal(&deadletterv1.DeadLetterPolicy{
		TaskType: resize, WarnAge: age(time.Minute), MaxReplays: proto.Int32(0), Hold: proto.Bool(true),
		UpdateTime: set.Policy.UpdateTime, Etag: set.Policy.Etag,
	}, set.Policy), "only fields of the mask: %s", set.Policy)
	require.NotNil(t, set.Policy.UpdateTime)
	require.Equal(t, time.Hour, set.Effective.BreachAge.AsDuration())
	requireAudit(t, w, "UpdateDeadLetterPolicy", "policies/"+resize, store.AuditChange{Field: "hold", After: "true"},
		store.AuditChange{Field: "max_replays", After: "0"}, store.AuditChange{Field: "warn_age", After: "1m0s"})
	_, err = w.update(t, &deadletterv1.DeadLetterPolicy{TaskType: resize}, unset, "hold")
	requireReason(t, err, codes.Aborted, "ETAG_MISMATCH")
	set, err = w.update(t, &deadletterv1.DeadLetterPolicy{TaskType: resize}, set.Policy.Etag, "hold")
	require.NoError(t, err)
	require.Nil(t, set.Policy.Hold)

	got, err = w.GetDeadLetterPolicy(t.Context(), &deadletterv1.GetDeadLetterPolicyRequest{TaskType: resize})
	require.NoError(t, err)
	require.True(t, proto.Equal(set.Policy, got.Policy))
	require.True(t, proto.Equal(set.Effective, got.Effective))
	require.Equal(t, map[string]string{"warn_age": "the type", "max_replays": "the type", "breach_age": "*"}, map[string]string{
		"warn_age": got.Sources["warn_age"], "max_replays": got.Sources["max_replays"], "breach_age": got.Sources["breach_age"],
	})
	got, err = w.GetDeadLetterPolicy(t.Context(), &deadletterv1.GetDeadLetterPolicyRequest{TaskType: "*"})
	require.NoError(t, err)
	require.Equal(t, "*", got.Sources["breach_age"])
	require.EqualValues(t, 3, *got.Effective.MaxReplays)
}

func TestBadPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.update(t, &deadletterv1.DeadLetterPolicy{TaskType: "*", BreachAge: age(time.Hour)}, "", "breach_age")
	require.NoError(t, err)
	type policy = deadletterv1.DeadLetterPolicy
	for name, c := range map[string]struct {
		p     *policy
		paths []string
		field string
	}{
		"no type":              {&policy{Hold: proto.Bool(true)}, []string{"hold"}, "policy.task_type"},
		"a pattern":            {&policy{TaskType: "acme.*", Hold: proto.Bool(true)}, []string{"hold"}, "policy.task_type"},
		"no field":             {&policy{TaskType: resize}, nil, "update_mask"},
		"unknown field":        {&policy{TaskType: resize}, []string{"colour"}, "update_mask"},
		"what can't be set":    {&policy{TaskType: resize}, []string{"etag"}, "update_mask"},
		"negative age":         {&policy{TaskType: resize, WarnAge: age(-1)}, []string{"warn_age"}, "policy.warn_age"},
		"long retention":       {&policy{TaskType: resize, OpenRetention: age(maxAge + 1)}, []string{"open_retention"}, "policy.open_retention"},
		"next to nothing":      {&policy{TaskType: resize, OpenRetention: age(1)}, []string{"open_retention"}, "policy.open_retention"},
		"no duration":          {&policy{TaskType: resize, WarnAge: &durationpb.Duration{Seconds: 1, Nanos: -1}}, []string{"warn_age"}, "policy.warn_age"},
		"negative replays":     {&policy{TaskType: resize, MaxReplays: proto.Int32(-1)}, []string{"max_replays"}, "policy.max_replays"},
		"warns after breach":   {&policy{TaskType: resize, WarnAge: age(2), BreachAge: age(1)}, []string{"warn_age", "breach_age"}, "policy.warn_age"},
		"warns after *'s":      {&policy{TaskType: resize, WarnAge: age(2 * time.Hour)}, []string{"warn_age"}, "policy.warn_age"},
		"warns after own of *": {&policy{TaskType: "*", WarnAge: age(2 * time.Hour)}, []string{"warn_age"}, "policy.warn_age"},
	} {
		if name == "warns after breach" {
			c.p.WarnAge, c.p.BreachAge = age(2*time.Second), age(time.Second)
		}
		_, err := w.update(t, c.p, "", c.paths...)
		requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
		require.Contains(t, fieldsOf(err), c.field, name)
	}
	_, err = w.update(t, &policy{TaskType: resize, WarnAge: age(maxAge), BreachAge: age(maxAge)}, "", "warn_age", "breach_age")
	require.NoError(t, err)
	_, err = w.UpdateDeadLetterPolicy(t.Context(), &deadletterv1.UpdateDeadLetterPolicyRequest{
		Policy: &policy{TaskType: resize}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"hold"}},
	})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

const maxAge = 10 * 365 * 24 * time.Hour

func TestListDeadLetterPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range 5 {
		_, err := w.update(t, &deadletterv1.DeadLetterPolicy{TaskType: fmt.Sprintf("a.v1.A.B%d", n), Hold: proto.Bool(true)}, "", "hold")
		require.NoError(t, err)
	}
	var types []string
	for token := ""; ; {
		page, err := w.ListDeadLetterPolicies(t.Context(), &deadletterv1.ListDeadLetterPoliciesRequest{PageSize: 2, PageToken: token})
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Policies), 2)
		for _, p := range page.Policies {
			types = append(types, p.TaskType)
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	require.Equal(t, []string{"a.v1.A.B0", "a.v1.A.B1", "a.v1.A.B2", "a.v1.A.B3", "a.v1.A.B4"}, types)
	for _, bad := range []string{"x", "!", "cG9saWN5"} {
		_, err := w.ListDeadLetterPolicies(t.Context(), &deadletterv1.ListDeadLetterPoliciesRequest{PageToken: bad})
		requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	}
}

func TestPoliciesAreShownWithDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.put(t, arrival(1))[0]
	d := w.get(t, id)
	require.Equal(t, deadletterv1.Residence_RESIDENCE_UNSPECIFIED, d.Residence)
	require.Nil(t, d.PurgeTime)
	_, err := w.update(t, &deadletterv1.DeadLetterPolicy{
		TaskType: resize, BreachAge: age(time.Hour), WarnAge: age(time.Millisecond), OpenRetention: age(time.Hour),
	}, "", "breach_age", "warn_age", "open_retention")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return w.get(t, id).Residence == deadletterv1.Residence_RESIDENCE_WARN }, patience, time.Millisecond)
	d = w.get(t, id)
	require.Equal(t, d.UpdateTime.AsTime().Add(time.Hour), d.PurgeTime.AsTime())
	_, err = w.update(t, &deadletterv1.DeadLetterPolicy{TaskType: resize, BreachAge: age(time.Millisecond), Hold: proto.Bool(true)}, "", "breach_age", "warn_age", "hold")
	require.NoError(t, err)
	page, err := w.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{})
	require.NoError(t, err)
	require.Equal(t, deadletterv1.Residence_RESIDENCE_BREACH, page.DeadLetters[0].Residence)
	require.Nil(t, page.DeadLetters[0].PurgeTime, "its type is on hold")
}

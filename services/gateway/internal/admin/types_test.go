package admin

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

func (f *fixture) get(t testing.TB) *adminv1.TaskType {
	t.Helper()
	answer, err := f.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: typeDelay})
	require.NoError(t, err)
	return answer.TaskType
}

func timeout(d time.Duration) *taskv1.TaskOptions {
	return &taskv1.TaskOptions{Timeout: durationpb.New(d)}
}

func update(options *taskv1.TaskOptions, paths ...string) *adminv1.UpdateTaskTypeRequest {
	return &adminv1.UpdateTaskTypeRequest{
		Name: "demo.v1.FaultService/Delay", Options: options, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Reason: "the disk is slow",
	}
}

func TestATypeIsShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := f.get(t)
	require.Equal(t, typeDelay, got.Name)
	require.Equal(t, "demo.v1.DelayRequest", got.Input)
	require.NotEmpty(t, got.Output)
	require.False(t, got.Streaming)
	require.Nil(t, got.Override)
	require.Nil(t, got.OverrideMask)
	require.Nil(t, got.OverrideTime)
	require.NotEmpty(t, got.Etag)
	require.True(t, proto.Equal(policy.Effective(got.Declared, nil, nil), got.Effective))

	get := func(name string) error {
		_, err := f.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: name})
		return err
	}
	requireReason(t, get("acme.v1.Nope.Nothing"), codes.NotFound, notFound)
	f.loaded = false
	require.NoError(t, get(typeDelay))
	requireReason(t, get("acme.v1.Nope.Nothing"), codes.Unavailable, unavailable)
	f.store.err = fmt.Errorf("%w: locked", store.ErrUnavailable)
	requireReason(t, get(typeDelay), codes.Unavailable, unavailable)
}

func TestTypesComeInPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var all []string
	for _, known := range f.types.All() {
		all = append(all, known.Name)
	}
	require.Greater(t, len(all), 3)
	f.store.err = fmt.Errorf("%w: locked", store.ErrUnavailable)
	for _, size := range []int32{0, 1, 2, int32(len(all)), 1000} {
		var names []string
		r := &adminv1.ListTaskTypesRequest{PageSize: size}
		for more := true; more; more = r.PageToken != "" {
			page, err := f.ListTaskTypes(t.Context(), r)
			require.NoError(t, err, "the store is not asked")
			if size > 0 {
				require.LessOrEqual(t, len(page.TaskTypes), int(size))
			}
			for _, m := range page.TaskTypes {
				names = append(names, m.Name)
				require.NotNil(t, m.Effective)
			}
			r.PageToken = page.NextPageToken
		}
		require.Equal(t, all, names, "page size %d", size)
	}
	for _, token := range []string{"?", "bm90IG91cnM", tokenOf(typesAfter, "")} {
		_, err := f.ListTaskTypes(t.Context(), &adminv1.ListTaskTypesRequest{PageToken: token})
		requireReason(t, err, codes.InvalidArgument, badPageToken)
	}
}

func TestAnOverrideIsInForceAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.get(t)
	answer, err := f.UpdateTaskType(t.Context(), update(timeout(time.Minute), "timeout"))
	require.NoError(t, err)
	require.Equal(t, []string{typeDelay}, f.told)
	effective, rules, ok := f.types.Effective(typeDelay)
	require.True(t, ok)
	require.Equal(t, time.Minute, rules.Timeout())
	got := f.get(t)
	require.True(t, proto.Equal(got, answer.TaskType))
	require.True(t, proto.Equal(effective, got.Effective))
	require.True(t, proto.Equal(timeout(time.Minute), got.Override))
	require.Equal(t, []string{"timeout"}, got.OverrideMask.Paths)
	require.Equal(t, "the disk is slow", got.OverrideReason)
	require.WithinDuration(t, time.Now(), got.OverrideTime.AsTime(), time.Minute)
	require.NotEqual(t, before.Etag, got.Etag)

	// One more field, and then the first one goes back to the method's own.
	attempts := &taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{MaxAttempts: 9}}
	answer, err = f.UpdateTaskType(t.Context(), update(attempts, "retry.max_attempts"))
	require.NoError(t, err)
	require.Equal(t, []string{"timeout", "retry.max_attempts"}, answer.TaskType.OverrideMask.Paths)
	answer, err = f.UpdateTaskType(t.Context(), update(nil, "timeout"))
	require.NoError(t, err)
	require.True(t, proto.Equal(attempts, answer.TaskType.Override))
	require.Equal(t, before.Effective.Timeout.AsDuration(), answer.TaskType.Effective.Timeout.AsDuration())
	answer, err = f.UpdateTaskType(t.Context(), update(nil, "retry"))
	require.NoError(t, err)
	require.True(t, proto.Equal(before.Effective, answer.TaskType.Effective))
	require.Nil(t, answer.TaskType.Override)
	require.Equal(t, "the disk is slow", answer.TaskType.OverrideReason, "that is on record all the same")
	require.True(t, proto.Equal(f.get(t), answer.TaskType))
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.get(t)
	r := update(timeout(time.Minute), "timeout")
	r.ValidateOnly = true
	answer, err := f.UpdateTaskType(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, time.Minute, answer.TaskType.Effective.Timeout.AsDuration())
	require.Equal(t, before.Etag, answer.TaskType.Etag)
	require.Empty(t, f.told)
	require.True(t, proto.Equal(before, f.get(t)))
}

func TestBadOverridesNameTheField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.get(t)
	for field, r := range map[string]*adminv1.UpdateTaskTypeRequest{
		"update_mask":                update(timeout(time.Minute), "tiemout"),
		"options.timeout":            update(timeout(13*time.Hour), "timeout"),
		"options.retry.max_attempts": update(&taskv1.TaskOptions{AtMostOnce: proto.Bool(true), Retry: &taskv1.RetryPolicy{MaxAttempts: 2}}, "at_most_once", "retry.max_attempts"),
	} {
		_, err := f.UpdateTaskType(t.Context(), r)
		requireReason(t, err, codes.InvalidArgument, invalid)
		require.Equal(t, []string{field}, fieldsOf(err))
	}
	r := update(timeout(time.Minute), "timeout")
	r.Name = "acme.v1.Nope.Nothing"
	_, err := f.UpdateTaskType(t.Context(), r)
	requireReason(t, err, codes.NotFound, notFound)
	require.True(t, proto.Equal(before, f.get(t)))
}

func TestOperatorsRaceByEtag(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	etag := f.get(t).Etag
	r := update(timeout(time.Minute), "timeout")
	r.Etag = etag
	_, err := f.UpdateTaskType(t.Context(), r)
	require.NoError(t, err)
	_, err = f.UpdateTaskType(t.Context(), r)
	requireReason(t, err, codes.Aborted, mismatch)

	// Somebody else comes in between, through another replica.
	other := func() {
		t.Helper()
		known, ok := f.types.Type(typeDelay)
		require.True(t, ok)
		require.NoError(t, f.store.Store.PutOverride(t.Context(), store.Override{
			TaskType: typeDelay, Version: known.Override.Version + 1, Reason: "another one", Time: time.Now(),
		}))
	}
	r.Etag = f.get(t).Etag
	f.store.races = []func(){other}
	_, err = f.UpdateTaskType(t.Context(), r)
	requireReason(t, err, codes.Aborted, mismatch)

	// Without an etag it is applied to what is there then.
	r.Etag = ""
	f.store.races = []func(){other, other}
	answer, err := f.UpdateTaskType(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, time.Minute, answer.TaskType.Effective.Timeout.AsDuration())
	require.True(t, proto.Equal(f.get(t), answer.TaskType))

	for range maxRaces {
		f.store.races = append(f.store.races, other)
	}
	_, err = f.UpdateTaskType(t.Context(), r)
	requireReason(t, err, codes.Aborted, mismatch)
	require.Empty(t, f.store.races)
}

func TestAnOverrideNeedsTheStoreAndNothingElse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tellErr = errors.New("no connection")
	_, err := f.UpdateTaskType(t.Context(), update(timeout(time.Minute), "timeout"))
	require.NoError(t, err, "workers learn it with their next heartbeat")

	f.store.puts = fmt.Errorf("%w: locked", store.ErrUnavailable)
	_, err = f.UpdateTaskType(t.Context(), update(timeout(time.Hour), "timeout"))
	requireReason(t, err, codes.Unavailable, unavailable)
	f.store.err = f.store.puts
	_, err = f.UpdateTaskType(t.Context(), update(timeout(time.Hour), "timeout"))
	requireReason(t, err, codes.Unavailable, unavailable)
	require.Len(t, f.told, 1)
}

package admin

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const noWorker = taskv1.ErrorReason_ERROR_REASON_WORKER_NOT_FOUND

// spellings are the ways to write typeDelay.
var spellings = []string{typeDelay, "demo.v1.FaultService/Delay", "/demo.v1.FaultService/Delay"}

func TestATypeIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	until := timestamppb.New(time.Now().Add(time.Hour))
	for _, name := range spellings {
		answer, err := f.PauseTaskType(t.Context(), &adminv1.PauseTaskTypeRequest{TaskType: name, Reason: "the disk is full", Until: until})
		require.NoError(t, err)
		require.True(t, answer.Control.Paused)
		require.Equal(t, "the disk is full", s.pause.Reason)
		require.Equal(t, until, s.pause.Until)
		resumed, err := f.ResumeTaskType(t.Context(), &adminv1.ResumeTaskTypeRequest{TaskType: name, Reason: "it has room"})
		require.NoError(t, err)
		require.False(t, resumed.Control.Paused)
		require.Equal(t, "it has room", resumed.Control.Reason)
		require.Nil(t, s.pause)
	}
	require.Equal(t, []string{typeDelay, typeDelay, typeDelay, typeDelay, typeDelay, typeDelay}, s.set)

	for _, until := range []*timestamppb.Timestamp{timestamppb.Now(), {Nanos: -1}, {}} {
		_, err := f.PauseTaskType(t.Context(), &adminv1.PauseTaskTypeRequest{TaskType: typeDelay, Reason: "x", Until: until})
		requireReason(t, err, codes.InvalidArgument, invalid)
		require.Equal(t, []string{"until"}, fieldsOf(err))
	}
	require.Len(t, s.set, 6)
}

func TestConcurrencyIsSet(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	set := func(edit func(*adminv1.UpdateConcurrencyRequest)) (*adminv1.UpdateConcurrencyResponse, error) {
		r := &adminv1.UpdateConcurrencyRequest{TaskType: "demo.v1.FaultService/Delay", Setting: &adminv1.UpdateConcurrencyRequest_Concurrency{Concurrency: 32}, Reason: "more"}
		edit(r)
		return f.UpdateConcurrency(t.Context(), r)
	}
	answer, err := set(func(*adminv1.UpdateConcurrencyRequest) {})
	require.NoError(t, err)
	require.EqualValues(t, 32, answer.Control.Concurrency)
	require.Nil(t, s.scale)
	_, err = set(func(r *adminv1.UpdateConcurrencyRequest) { r.WorkerId = workerID(1) })
	require.NoError(t, err)
	scale := func(r *adminv1.UpdateConcurrencyRequest) {
		r.Setting = &adminv1.UpdateConcurrencyRequest_Autoscale{Autoscale: &adminv1.Autoscale{Min: 2, Max: 8}}
	}
	_, err = set(scale)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.scale.Min)
	require.EqualValues(t, 8, s.scale.Max)
	require.Equal(t, []string{typeDelay + " ", typeDelay + " " + workerID(1), typeDelay + " "}, s.set)

	_, err = set(func(r *adminv1.UpdateConcurrencyRequest) { scale(r); r.WorkerId = workerID(1) })
	requireReason(t, err, codes.InvalidArgument, invalid)
	require.Equal(t, []string{"autoscale"}, fieldsOf(err))
	s.err = control.ErrNoWorker
	_, err = set(func(r *adminv1.UpdateConcurrencyRequest) { r.WorkerId = workerID(2) })
	requireReason(t, err, codes.NotFound, noWorker)
	require.ErrorContains(t, err, "no such worker has been heard of")
	s.workers = []control.Worker{workerOf(2, hasGone, typeDelay)}
	_, err = set(func(r *adminv1.UpdateConcurrencyRequest) { r.WorkerId = workerID(2) })
	requireReason(t, err, codes.NotFound, noWorker)
	require.ErrorContains(t, err, workerID(2)+" is gone")
}

func TestControlOfUnknownTypesAndWithoutAStore(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	calls := func(name string) map[string]error {
		_, pause := f.PauseTaskType(t.Context(), &adminv1.PauseTaskTypeRequest{TaskType: name, Reason: "x"})
		_, resume := f.ResumeTaskType(t.Context(), &adminv1.ResumeTaskTypeRequest{TaskType: name, Reason: "x"})
		_, concurrency := f.UpdateConcurrency(t.Context(), &adminv1.UpdateConcurrencyRequest{TaskType: name, Reason: "x"})
		return map[string]error{"pause": pause, "resume": resume, "concurrency": concurrency}
	}
	for _, err := range calls("acme.v1.Nope.Nothing") {
		requireReason(t, err, codes.NotFound, notFound)
		require.Equal(t, []string{"task_type"}, fieldsOf(err))
	}
	f.loaded = false
	for _, err := range calls("acme.v1.Nope.Nothing") {
		requireReason(t, err, codes.Unavailable, unavailable)
	}
	require.Empty(t, s.set)
	for _, stored := range []error{store.ErrUnavailable, store.ErrChanged} {
		s.err = fmt.Errorf("set it: %w", stored)
		for _, err := range calls(typeDelay) {
			requireReason(t, err, codes.Unavailable, unavailable)
		}
	}
	s.err = errors.New("secret")
	for _, err := range calls(typeDelay) {
		requireReason(t, err, codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL)
	}
}

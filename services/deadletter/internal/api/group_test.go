package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// grouped is an arrival that failed with a message, and is in the group of that.
func grouped(n int, message string) store.Arrival {
	a := arrival(n)
	a.Occurrence.Failure = &task.Failure{Code: 14, Message: message}
	groups.Identify(&a)
	return a
}

func (w *world) groups(t *testing.T, r *deadletterv1.ListFailureGroupsRequest) (all []*deadletterv1.FailureGroup, pages int) {
	t.Helper()
	for {
		page, err := w.ListFailureGroups(t.Context(), r)
		require.NoError(t, err)
		pages++
		all = append(all, page.Groups...)
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			return all, pages
		}
	}
}

// requireField fails unless a BadRequest names the field.
func requireField(t *testing.T, err error, field string) {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			require.Equal(t, field, bad.FieldViolations[0].Field)
			return
		}
	}
	require.Fail(t, "there is no BadRequest", "%v", err)
}

func TestFailureGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for n := range 30 {
		ids = append(ids, w.put(t, grouped(n, fmt.Sprintf("order-%d is gone", n)))...)
	}
	w.put(t, grouped(1, "the disk is full"))
	all, pages := w.groups(t, &deadletterv1.ListFailureGroupsRequest{PageSize: 1, OrderBy: "open_count desc"})
	require.Len(t, all, 2)
	require.Equal(t, 2, pages)
	g := all[0]
	require.Equal(t, "order-<num> is gone", g.Message)
	require.EqualValues(t, 30, g.Count)
	require.EqualValues(t, 30, g.DeadLetterCount)
	require.EqualValues(t, 30, g.OpenCount)
	require.Equal(t, deadletterv1.FailureGroupState_FAILURE_GROUP_STATE_OPEN, g.State)
	require.Equal(t, taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED, g.Cause)
	require.Empty(t, g.SampleDeadLetterIds)
	all, _ = w.groups(t, &deadletterv1.ListFailureGroupsRequest{Filter: `message:"DISK" AND open_count = 1`})
	require.Len(t, all, 1)

	r, err := w.GetFailureGroup(t.Context(), &deadletterv1.GetFailureGroupRequest{GroupId: g.GroupId})
	require.NoError(t, err)
	require.Len(t, r.Group.SampleDeadLetterIds, 10)
	require.Equal(t, ids[29], r.Group.SampleDeadLetterIds[0])
	require.Len(t, r.Group.SampleTraceIds, 10)
	require.Equal(t, "v", r.Group.WorkerVersions[0].Version)
	require.NotEmpty(t, r.Group.Hours)
	d, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: ids[0]})
	require.NoError(t, err)
	require.Equal(t, g.GroupId, d.DeadLetter.GroupId)

	page, err := w.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{PageSize: 1})
	require.NoError(t, err)
	for _, token := range []string{"x", page.NextPageToken[:5], page.NextPageToken + "AA"} {
		_, err = w.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{PageToken: token})
		requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	}
	_, err = w.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{PageToken: page.NextPageToken, OrderBy: "count desc"})
	requireReason(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
	_, err = w.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{OrderBy: "note"})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	requireField(t, err, "order_by")
	for _, bad := range []string{`labels.n = "1"`, `labels:n`, `run = 1`} {
		_, err = w.ListFailureGroups(t.Context(), &deadletterv1.ListFailureGroupsRequest{Filter: bad})
		requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
	}
	_, err = w.GetFailureGroup(t.Context(), &deadletterv1.GetFailureGroupRequest{GroupId: g.GroupId[1:] + "0"})
	requireReason(t, err, codes.NotFound, "FAILURE_GROUP_NOT_FOUND")
}

func TestUpdateFailureGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(t, grouped(1, "the disk is full"))
	all, _ := w.groups(t, &deadletterv1.ListFailureGroupsRequest{})
	id := all[0].GroupId
	update := func(u *deadletterv1.FailureGroupUpdate, etag string, paths ...string) (*deadletterv1.FailureGroup, error) {
		r, err := w.UpdateFailureGroup(t.Context(), &deadletterv1.UpdateFailureGroupRequest{
			GroupId: id, Update: u, Etag: etag, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Reason: "disk replaced",
		})
		return r.GetGroup(), err
	}
	until := timestamppb.New(time.Now().Add(time.Hour).Truncate(time.Microsecond))
	g, err := update(&deadletterv1.FailureGroupUpdate{
		State: deadletterv1.FailureGroupState_FAILURE_GROUP_STATE_RESOLVED, Note: "n", MuteUntilTime: until,
	}, all[0].Etag, "state", "note", "mute_until_time")
	require.NoError(t, err)
	require.Equal(t, deadletterv1.FailureGroupState_FAILURE_GROUP_STATE_RESOLVED, g.State)
	require.Equal(t, "n", g.Note)
	require.True(t, proto.Equal(until, g.MuteUntilTime))
	g, err = update(&deadletterv1.FailureGroupUpdate{Note: "m"}, "", "mute_until_time")
	require.NoError(t, err)
	require.Equal(t, "n", g.Note, "the mask does not name it")
	require.Nil(t, g.MuteUntilTime)
	w.put(t, grouped(2, "the disk is full"))
	all, _ = w.groups(t, &deadletterv1.ListFailureGroupsRequest{Filter: `state = "REGRESSED"`})
	require.Len(t, all, 1)

	_, err = update(&deadletterv1.FailureGroupUpdate{}, g.Etag, "note")
	requireReason(t, err, codes.Aborted, "ETAG_MISMATCH")
	for field, call := range map[string]func() error{
		"update_mask": func() error { _, err := update(nil, "", "etag"); return err },
		"update.state": func() error {
			_, err := update(nil, "", "state")
			return err
		},
		"update.mute_until_time": func() error {
			_, err := update(&deadletterv1.FailureGroupUpdate{MuteUntilTime: &timestamppb.Timestamp{Seconds: 1 << 60}}, "", "mute_until_time")
			return err
		},
	} {
		err := call()
		requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
		requireField(t, err, field)
	}
	for _, paths := range [][]string{nil, {}} {
		_, err = update(nil, "", paths...)
		requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	}
	_, err = update(&deadletterv1.FailureGroupUpdate{State: deadletterv1.FailureGroupState_FAILURE_GROUP_STATE_REGRESSED}, "", "state")
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	id = "00000000000000000000000000000000"
	_, err = update(nil, "", "note")
	requireReason(t, err, codes.NotFound, "FAILURE_GROUP_NOT_FOUND")

	events, err := w.store.AuditEvents(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, "UpdateFailureGroup", events[0].By.Method)
	require.Equal(t, "disk replaced", events[0].By.Reason)
	require.Equal(t, "unauthenticated", events[0].By.Actor)
}

func TestExplainFingerprint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const message = "order-4711 is gone, says 10.0.0.1:80"
	id := w.put(t, grouped(1, message))[0]
	r, err := w.ExplainFingerprint(t.Context(), &deadletterv1.ExplainFingerprintRequest{
		Failure: &deadletterv1.ExplainFingerprintRequest_DeadLetterId{DeadLetterId: id},
	})
	require.NoError(t, err)
	d, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id})
	require.NoError(t, err)
	require.Equal(t, d.DeadLetter.GroupId, r.GroupId)
	require.True(t, r.GroupExists)
	require.Len(t, r.Fingerprint, 64)
	require.Equal(t, r.GroupId, r.Fingerprint[:32])
	require.Equal(t, "order-<num> is gone, says <addr>", r.Parts[len(r.Parts)-1].Value)
	require.Len(t, r.Replacements, 2)
	for _, x := range r.Replacements {
		require.Equal(t, x.Text, message[x.Offset:int(x.Offset)+len(x.Text)])
	}

	sample := &deadletterv1.FailureSample{
		Type: d.DeadLetter.Type, Cause: d.DeadLetter.Cause, Code: 14, Message: "order-1 is gone, says [::1]:80",
	}
	explain := func() *deadletterv1.ExplainFingerprintResponse {
		r, err := w.ExplainFingerprint(t.Context(), &deadletterv1.ExplainFingerprintRequest{
			Failure: &deadletterv1.ExplainFingerprintRequest_Sample{Sample: sample},
		})
		require.NoError(t, err)
		return r
	}
	withInfo := func(info *errdetails.ErrorInfo) {
		m, err := anypb.New(info)
		require.NoError(t, err)
		sample.Details = []*anypb.Any{m}
	}
	require.False(t, explain().GroupExists, "it lacks the reason of the other")
	withInfo(&errdetails.ErrorInfo{Reason: "QUOTA"})
	require.Equal(t, r.GroupId, explain().GroupId)
	withInfo(&errdetails.ErrorInfo{Domain: "acme.com", Metadata: map[string]string{"fingerprint": "mine"}})
	custom := explain()
	require.Equal(t, "fingerprint", custom.Parts[2].Name)
	require.Equal(t, "mine", custom.Parts[2].Value)

	_, err = w.ExplainFingerprint(t.Context(), &deadletterv1.ExplainFingerprintRequest{
		Failure: &deadletterv1.ExplainFingerprintRequest_DeadLetterId{DeadLetterId: task.NewID()},
	})
	requireReason(t, err, codes.NotFound, "DEAD_LETTER_NOT_FOUND")
	_, err = w.ExplainFingerprint(t.Context(), &deadletterv1.ExplainFingerprintRequest{})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestAggregateDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(t, grouped(1, "a"), grouped(1, "a"), grouped(2, "b"), foreign())
	count := func(filter string, interval time.Duration, by ...string) (*deadletterv1.AggregateDeadLettersResponse, error) {
		r := &deadletterv1.AggregateDeadLettersRequest{Filter: filter, GroupBy: by}
		if interval > 0 {
			r.Interval = durationpb.New(interval)
		}
		return w.AggregateDeadLetters(t.Context(), r)
	}
	r, err := count("", 0, "state", "cause", "code", "labels.n", "worker_version")
	require.NoError(t, err)
	require.EqualValues(t, 4, r.Total)
	var rows [][]string
	for _, a := range r.Aggregates {
		rows = append(rows, append(a.Values, fmt.Sprint(a.Count)))
		require.NotNil(t, a.FirstDeadTime)
		require.Nil(t, a.StartTime)
	}
	require.Equal(t, [][]string{
		{"OPEN", "ATTEMPTS_EXHAUSTED", "UNAVAILABLE", "1", "v", "2"},
		{"OPEN", "ATTEMPTS_EXHAUSTED", "UNAVAILABLE", "2", "v", "1"},
		{"OPEN", "UNDECODABLE", "", "", "", "1"},
	}, rows)
	r, err = count(`state = "OPEN"`, 0, `labels."n"`)
	require.NoError(t, err)
	require.Len(t, r.Aggregates, 3)
	r, err = count(`code = "UNAVAILABLE"`, 24*time.Hour)
	require.NoError(t, err)
	require.EqualValues(t, 3, r.Total)
	for _, a := range r.Aggregates {
		require.Zero(t, a.StartTime.AsTime().Unix()%86400)
	}
	r, err = count(`state = "DISCARDED"`, 0)
	require.NoError(t, err)
	require.Zero(t, r.Total)
	require.Empty(t, r.Aggregates)

	_, err = count("", 0, "state", "colour")
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	requireField(t, err, "group_by[1]")
	for _, by := range []string{"labels.", "labels", "run", "d.state"} {
		_, err = count("", 0, by)
		requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	}
	_, err = count("", time.Second)
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	_, err = count("colour = red", 0)
	requireReason(t, err, codes.InvalidArgument, "FILTER_INVALID")
	for range 11 {
		var many []store.Arrival
		for range 1000 {
			a := store.Arrival{ID: task.NewID(), Type: "t", Occurrence: store.Occurrence{Run: 1, Cause: 1}}
			a.Labels = map[string]string{"id": a.ID}
			many = append(many, a)
		}
		w.put(t, many...)
	}
	_, err = count("", 0, "labels.id")
	requireReason(t, err, codes.FailedPrecondition, "COUNT_EXCEEDED")
}

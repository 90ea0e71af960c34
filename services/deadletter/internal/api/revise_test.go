package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	tasktypes "github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	typeFail   = "demo.v1.FaultService.Fail"
	maxPayload = 3000
)

func (c *catalogue) GetServerInfo(context.Context, *adminv1.GetServerInfoRequest, ...grpc.CallOption) (*adminv1.GetServerInfoResponse, error) {
	return &adminv1.GetServerInfoResponse{Server: &adminv1.ServerInfo{Limits: &adminv1.ServerLimits{MaxPayloadBytes: maxPayload}}}, nil
}

// describe answers for the demo's services, of which Fail wants a message of at most five
// characters, unless it is empty.
func describe(t *testing.T) func(taskType string) (*adminv1.GetTaskTypeResponse, error) {
	t.Helper()
	a, err := tasktypes.Collect(nil, "demo.v1.FaultService")
	require.NoError(t, err)
	rules, err := tasktypes.Collect(nil, "warren.task.v1.TaskService") // which imports the rules' own file
	require.NoError(t, err)
	files := map[string][]byte{}
	for _, raw := range append(rules.Files, a.Files...) {
		file := &descriptorpb.FileDescriptorProto{}
		require.NoError(t, proto.Unmarshal(raw, file))
		files[file.GetName()] = raw
	}
	fault := protodesc.ToFileDescriptorProto(demov1.File_demo_v1_fault_service_proto)
	options := new(descriptorpb.FieldOptions)
	proto.SetExtension(options, validate.E_Field, &validate.FieldRules{Type: &validate.FieldRules_String_{String_: &validate.StringRules{MaxLen: proto.Uint64(5)}}})
	for _, m := range fault.MessageType {
		if m.GetName() == "FailRequest" {
			m.Field[1].Options = options
		}
	}
	fault.Dependency = append(fault.Dependency, "buf/validate/validate.proto")
	files[fault.GetName()], err = proto.Marshal(fault)
	require.NoError(t, err)
	announced := tasktypes.Announcement{Services: []string{"demo.v1.FaultService"}}
	for _, raw := range files {
		announced.Files = append(announced.Files, raw)
	}
	bundle, err := tasktypes.Build(announced, tasktypes.Limits{})
	require.NoError(t, err)
	return func(taskType string) (*adminv1.GetTaskTypeResponse, error) {
		for _, known := range bundle.TaskTypes() {
			if known.Name == taskType {
				set, err := known.DescriptorSet()
				return &adminv1.GetTaskTypeResponse{
					TaskType: &adminv1.TaskType{Name: taskType, Input: string(known.Input.FullName())}, Schema: &adminv1.Schema{DescriptorSet: set},
				}, err
			}
		}
		return nil, status.Error(codes.NotFound, "none")
	}
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	require.NoError(t, err)
	return b
}

// poison is a task that has failed, as its payload asks for.
func poison(t *testing.T) store.Arrival {
	t.Helper()
	a := arrival(1)
	a.Type, a.Message.Body = typeFail, encoded(t, &demov1.FailRequest{Code: 3, Message: "bad"})
	return a
}

func (w *world) full(t *testing.T, id string) *deadletterv1.DeadLetter {
	t.Helper()
	got, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: full})
	require.NoError(t, err)
	return got.DeadLetter
}

func reviseJSON(id, etag, text string) *deadletterv1.ReviseDeadLetterRequest {
	return &deadletterv1.ReviseDeadLetterRequest{
		DeadLetterId: id, Etag: etag, Reason: "the code is wrong", Payload: &deadletterv1.ReviseDeadLetterRequest_Json{Json: text},
	}
}

func reviseBytes(id, etag string, payload []byte) *deadletterv1.ReviseDeadLetterRequest {
	return &deadletterv1.ReviseDeadLetterRequest{
		DeadLetterId: id, Etag: etag, Reason: "the code is wrong", Payload: &deadletterv1.ReviseDeadLetterRequest_Encoded{Encoded: payload},
	}
}

func TestReviseDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types.describes = describe(t)
	a := poison(t)
	id := w.put(t, a)[0]
	d := w.full(t, id)
	digest := sha256.Sum256(a.Message.Body)
	first := &deadletterv1.PayloadRevision{
		Revision: 1, CreateTime: d.FirstDeadTime, Size: int64(len(a.Message.Body)), Sha256: hex.EncodeToString(digest[:]), Omitted: true,
	}
	require.Len(t, d.Revisions, 1)
	require.True(t, proto.Equal(first, d.Revisions[0]), "%v", d.Revisions[0])

	one, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: full, PayloadRevision: 1})
	require.NoError(t, err)
	require.Equal(t, a.Message.Body, one.DeadLetter.Revisions[0].Payload)
	require.False(t, one.DeadLetter.Revisions[0].Omitted)

	// It is only looked at.
	request := reviseJSON(id, d.Etag, `{"code": 0, "message": "good"}`)
	request.ValidateOnly = true
	looked, err := w.ReviseDeadLetter(t.Context(), request)
	require.NoError(t, err)
	require.EqualValues(t, 2, looked.Revision.Revision)
	require.Nil(t, looked.Revision.CreateTime)
	require.True(t, proto.Equal(d, w.full(t, id)))

	request.ValidateOnly = false
	revised, err := w.ReviseDeadLetter(t.Context(), request)
	require.NoError(t, err)
	r := revised.Revision
	want := encoded(t, &demov1.FailRequest{Message: "good"})
	require.Equal(t, want, r.Payload)
	require.EqualValues(t, []int64{2, int64(len(want))}, []int64{int64(r.Revision), r.Size})
	digest = sha256.Sum256(want)
	require.Equal(t, hex.EncodeToString(digest[:]), r.Sha256)
	require.Equal(t, "unauthenticated", r.Actor)
	require.Equal(t, "the code is wrong", r.Reason)
	require.Equal(t, "--- revision 1\n+++ revision 2\n@@ -1,4 +1,3 @@\n {\n-  \"code\": 3,\n-  \"message\": \"bad\"\n+  \"message\": \"good\"\n }\n", r.Diff)
	require.Equal(t, looked.Revision.Diff, r.Diff)
	require.EqualValues(t, 2, revised.DeadLetter.PayloadRevision)
	require.NotEqual(t, d.Etag, revised.DeadLetter.Etag)
	require.Equal(t, d.State, revised.DeadLetter.State)

	// The original is as it was, and what died is still what is shown as the payload.
	got := w.full(t, id)
	require.Equal(t, a.Message.Body, got.Message.Body)
	require.Equal(t, a.Message.Body, got.Payload.Value)
	require.Len(t, got.Revisions, 2)
	first.Payload, first.Omitted = a.Message.Body, false
	require.True(t, proto.Equal(first, got.Revisions[0]))
	require.True(t, proto.Equal(r, got.Revisions[1]))

	// By bytes, of what is the same JSON.
	again, err := w.ReviseDeadLetter(t.Context(), reviseBytes(id, got.Etag, append(want, 0xf8, 1, 1)))
	require.NoError(t, err)
	require.EqualValues(t, 3, again.Revision.Revision)
	require.Empty(t, again.Revision.Diff)
}

// A payload that is no message of its type can still be replaced.
func TestReviseAGarbledPayload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types.describes = describe(t)
	a := poison(t)
	a.Message.Body = []byte("garbage")
	id := w.put(t, a)[0]
	revised, err := w.ReviseDeadLetter(t.Context(), reviseJSON(id, w.full(t, id).Etag, `{}`))
	require.NoError(t, err)
	require.Equal(t, "--- revision 1 (no valid demo.v1.FailRequest)\n+++ revision 2\n@@ -0,0 +1 @@\n+{}\n", revised.Revision.Diff)
	require.Empty(t, revised.Revision.Payload)
	require.Len(t, w.full(t, id).Revisions, 2)
}

// fieldsOf are those that an error's BadRequest names.
func fieldsOf(err error) (fields []string) {
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				fields = append(fields, v.Field)
			}
		}
	}
	return fields
}

func TestRevisionsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types.describes = describe(t)
	gone, off := poison(t), poison(t)
	gone.Type, off.Type = "demo.v1.FaultService.Gone", "demo.v1.FaultService.Away"
	ids := w.put(t, poison(t), poison(t), foreign(), gone, off)
	_, err := w.DiscardDeadLetter(t.Context(), &deadletterv1.DiscardDeadLetterRequest{DeadLetterId: ids[1], Reason: "r"})
	require.NoError(t, err)
	known := w.types.describes
	w.types.describes = func(taskType string) (*adminv1.GetTaskTypeResponse, error) {
		if taskType == off.Type {
			return nil, status.Error(codes.Unavailable, "away")
		}
		return known(taskType)
	}
	etag := w.full(t, ids[0]).Etag
	revise := func(r *deadletterv1.ReviseDeadLetterRequest) error {
		_, err := w.ReviseDeadLetter(t.Context(), r)
		return err
	}
	etagOf := func(id string) string { return w.full(t, id).Etag }
	for what, c := range map[string]struct {
		request *deadletterv1.ReviseDeadLetterRequest
		code    codes.Code
		reason  string
		fields  []string
	}{
		"no etag":             {reviseJSON(ids[0], "", `{}`), codes.InvalidArgument, "INVALID_REQUEST", []string{"etag"}},
		"no payload":          {&deadletterv1.ReviseDeadLetterRequest{DeadLetterId: ids[0], Etag: etag, Reason: "r"}, codes.InvalidArgument, "INVALID_REQUEST", []string{"payload"}},
		"unknown":             {reviseJSON("01890a5d-ac96-774b-bcce-b302099a8057", "1", `{}`), codes.NotFound, "DEAD_LETTER_NOT_FOUND", nil},
		"another etag":        {reviseJSON(ids[0], "other", `{}`), codes.Aborted, "ETAG_MISMATCH", nil},
		"not open":            {reviseJSON(ids[1], etagOf(ids[1]), `{}`), codes.FailedPrecondition, "DEAD_LETTER_NOT_OPEN", nil},
		"no task":             {reviseJSON(ids[2], etagOf(ids[2]), `{}`), codes.FailedPrecondition, "NOT_REPLAYABLE", nil},
		"type is gone":        {reviseJSON(ids[3], etagOf(ids[3]), `{}`), codes.NotFound, "TASK_TYPE_NOT_FOUND", nil},
		"gateway is away":     {reviseJSON(ids[4], etagOf(ids[4]), `{}`), codes.Unavailable, "GATEWAY_UNAVAILABLE", nil},
		"no JSON":             {reviseJSON(ids[0], etag, `{`), codes.InvalidArgument, "PAYLOAD_UNDECODABLE", []string{"json"}},
		"JSON of something":   {reviseJSON(ids[0], etag, `{"code": "three"}`), codes.InvalidArgument, "PAYLOAD_UNDECODABLE", []string{"payload.code"}},
		"bytes of something":  {reviseBytes(ids[0], etag, []byte("garbage")), codes.InvalidArgument, "PAYLOAD_UNDECODABLE", []string{"encoded"}},
		"JSON breaks a rule":  {reviseJSON(ids[0], etag, `{"message": "secret"}`), codes.InvalidArgument, "PAYLOAD_INVALID", []string{"payload.message"}},
		"bytes break a rule":  {reviseBytes(ids[0], etag, encoded(t, &demov1.FailRequest{Message: "secret"})), codes.InvalidArgument, "PAYLOAD_INVALID", []string{"payload.message"}},
		"too large, as JSON":  {reviseJSON(ids[0], etag, `{"reason": "`+strings.Repeat("x", maxPayload)+`"}`), codes.ResourceExhausted, "PAYLOAD_TOO_LARGE", []string{"json"}},
		"too large, as bytes": {reviseBytes(ids[0], etag, make([]byte, maxPayload+1)), codes.ResourceExhausted, "PAYLOAD_TOO_LARGE", []string{"encoded"}},
	} {
		err := revise(c.request)
		info := requireReason(t, err, c.code, c.reason)
		require.Equal(t, c.fields, fieldsOf(err), what)
		switch c.reason {
		case "PAYLOAD_TOO_LARGE":
			require.Equal(t, fmt.Sprint(maxPayload), info.Metadata["limit_bytes"])
		case "DEAD_LETTER_NOT_OPEN":
			require.Equal(t, "DISCARDED", info.Metadata["state"])
		}
	}
	require.Equal(t, etag, w.full(t, ids[0]).Etag)
	require.Len(t, w.full(t, ids[0]).Revisions, 1)
	require.Len(t, w.audit(t, ``), 1, "of the one that was discarded")
}

func TestRevisionsHaveABound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types.describes = describe(t)
	id := w.put(t, poison(t))[0]
	for i := range store.MaxRevisions - 1 {
		d, err := w.store.Get(t.Context(), id, false)
		require.NoError(t, err)
		_, _, err = w.store.Revise(t.Context(), store.ReviseRequest{ID: id, Etag: d.Etag, Payload: []byte{8, byte(i)}})
		require.NoError(t, err)
	}
	for _, validateOnly := range []bool{true, false} {
		r := reviseJSON(id, w.full(t, id).Etag, `{}`)
		r.ValidateOnly = validateOnly
		_, err := w.ReviseDeadLetter(t.Context(), r)
		require.Equal(t, "100", requireReason(t, err, codes.FailedPrecondition, "COUNT_EXCEEDED").Metadata["count"])
	}
}

// Large revisions are left out of what is shown, and can be asked for.
func TestShowsOneRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types.describes = describe(t)
	a := poison(t)
	a.Message.Body = bytes.Repeat([]byte("a"), 2<<20)
	id := w.put(t, a)[0]
	for i := range 2 {
		d, err := w.store.Get(t.Context(), id, false)
		require.NoError(t, err)
		_, _, err = w.store.Revise(t.Context(), store.ReviseRequest{ID: id, Etag: d.Etag, Payload: bytes.Repeat([]byte{byte(i)}, 900<<10), Diff: fmt.Sprint("diff ", i)})
		require.NoError(t, err)
	}
	get := func(view deadletterv1.DeadLetterView, revision int32) (*deadletterv1.DeadLetter, error) {
		got, err := w.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id, View: view, PayloadRevision: revision}, grpc.MaxCallRecvMsgSize(32<<20))
		return got.GetDeadLetter(), err
	}
	for revision := range int32(4) {
		d, err := get(full, revision)
		require.NoError(t, err)
		require.Len(t, d.Revisions, 3)
		for i, r := range d.Revisions {
			shown := int32(i) == revision-1 || i == 2
			require.Equal(t, !shown, r.Omitted, "%d of %d", i+1, revision)
			require.Equal(t, shown, len(r.Payload) == int(r.Size))
			if i > 0 {
				require.Equal(t, shown, r.Diff == fmt.Sprint("diff ", i-1))
			}
		}
	}
	_, err := get(full, 4)
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	require.Equal(t, []string{"payload_revision"}, fieldsOf(err))
	d, err := get(deadletterv1.DeadLetterView_DEAD_LETTER_VIEW_BASIC, 4)
	require.NoError(t, err, "BASIC has no revisions")
	require.Empty(t, d.Revisions)
	require.EqualValues(t, 3, d.PayloadRevision)
}

package api

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

const payloadInvalid = taskv1.ErrorReason_ERROR_REASON_PAYLOAD_INVALID

// withRules adds a task type, acme.Echoes.Say, whose input has items whose names are
// short.
func withRules(t testing.TB) func(*Config) {
	t.Helper()
	label, repeated, text, message := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED,
		descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	short := new(descriptorpb.FieldOptions)
	proto.SetExtension(short, validate.E_Field, &validate.FieldRules{Type: &validate.FieldRules_String_{String_: &validate.StringRules{MaxLen: proto.Uint64(3)}}})
	file, err := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: proto.String("acme.proto"), Package: proto.String("acme"), Syntax: proto.String("proto3"), Dependency: []string{"buf/validate/validate.proto"},
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Echo"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("items"), Number: proto.Int32(1), Label: &repeated, Type: &message, TypeName: proto.String(".acme.Item")}}},
			{Name: proto.String("Item"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("name"), Number: proto.Int32(1), Label: &label, Type: &text, Options: short}}},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Echoes"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Say"), InputType: proto.String(".acme.Echo"), OutputType: proto.String(".acme.Echo")},
		}}},
	})
	require.NoError(t, err)
	a, err := catalogue.Collect(nil, "warren.task.v1.TaskService")
	require.NoError(t, err)
	b, err := catalogue.Build(catalogue.Announcement{Services: []string{"acme.Echoes"}, Files: append(a.Files, file)}, catalogue.Limits{})
	require.NoError(t, err)
	require.Empty(t, b.Refusals())
	return func(cfg *Config) {
		_, err := cfg.Catalogue.Put(b, time.Now())
		require.NoError(t, err)
	}
}

// echo is a submission with items of these names.
func echo(names ...string) *taskv1.SubmitTaskRequest {
	var value []byte
	for _, n := range names {
		item := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), n)
		value = protowire.AppendBytes(protowire.AppendTag(value, 1, protowire.BytesType), item)
	}
	return &taskv1.SubmitTaskRequest{Type: "acme.Echoes.Say", Payload: &anypb.Any{TypeUrl: "type.googleapis.com/acme.Echo", Value: value}}
}

// onceOnly is a stream of one submission.
type onceOnly struct {
	grpc.ServerStream
	test    testing.TB
	request *taskv1.SubmitTasksRequest
	answers []*taskv1.SubmitTasksResponse
}

func (s *onceOnly) Context() context.Context { return s.test.Context() }

func (s *onceOnly) Recv() (*taskv1.SubmitTasksRequest, error) {
	r := s.request
	if s.request = nil; r == nil {
		return nil, io.EOF
	}
	return r, nil
}

func (s *onceOnly) Send(r *taskv1.SubmitTasksResponse) error {
	s.answers = append(s.answers, r)
	return nil
}

func TestEveryWayToSubmitKeepsTheRulesOfThePayload(t *testing.T) {
	t.Parallel()
	bad := echo("abc", "abcd", "x", "12345")
	later := proto.CloneOf(bad)
	for name, submit := range map[string]func(*TaskService, *taskv1.SubmitTaskRequest) error{
		"SubmitTask": func(s *TaskService, r *taskv1.SubmitTaskRequest) error {
			_, err := s.SubmitTask(t.Context(), r)
			return err
		},
		"BatchSubmitTasks": func(s *TaskService, r *taskv1.SubmitTaskRequest) error {
			answer, err := s.BatchSubmitTasks(t.Context(), batchOf(r))
			require.NoError(t, err)
			return status.ErrorProto(answer.Results[0].GetError())
		},
		"SubmitTasks": func(s *TaskService, r *taskv1.SubmitTaskRequest) error {
			stream := &onceOnly{test: t, request: &taskv1.SubmitTasksRequest{Request: r}}
			require.NoError(t, s.SubmitTasks(stream))
			require.Len(t, stream.answers, 1)
			return status.ErrorProto(stream.answers[0].GetError())
		},
		"a schedule": func(s *TaskService, r *taskv1.SubmitTaskRequest) error { return s.CheckTask(r) },
		"a schedule's firing": func(s *TaskService, r *taskv1.SubmitTaskRequest) error {
			_, err := s.MakeTask(t.Context(), r, "s", "0198b1de-0000-7000-8000-000000000001", time.Now())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := stopped()
			service, _ := newService(t, f, withRules(t))
			err := submit(service, proto.CloneOf(later))
			require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
			require.Equal(t, payloadInvalid, reasonOf(t, err))
			require.Equal(t, []string{"payload.items[1].name", "payload.items[3].name"}, fieldsOf(err))
			details := 0
			for _, d := range status.Convert(err).Details() {
				if request, ok := d.(*errdetails.BadRequest); ok {
					details++
					require.Contains(t, request.FieldViolations[0].Description, "[string.max_len]")
				}
			}
			require.Equal(t, 1, details, "one BadRequest names all")
		})
	}
}

func TestAnswersAboutRulesFitIntoTrailers(t *testing.T) {
	t.Parallel()
	service, _ := newService(t, stopped(), withRules(t))
	_, err := service.SubmitTask(t.Context(), echo(strings.Split(strings.Repeat("long ", 50), " ")...))
	require.Equal(t, payloadInvalid, reasonOf(t, err))
	require.Len(t, fieldsOf(err), 20)
	require.Contains(t, err.Error(), "and 30 more")
	require.Less(t, len(status.Convert(err).Message())+proto.Size(status.Convert(err).Proto())*4/3, 8<<10)
	require.NoError(t, service.CheckTask(echo("a", "b")))
}

package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	_ "google.golang.org/protobuf/types/gofeaturespb" // well-known files, for servers that leave them out
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/apipb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/sourcecontextpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/typepb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// The two versions of gRPC reflection. Their messages are the same on the wire;
// older servers, and Python's, know the second one only.
const (
	reflectV1      = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	reflectV1Alpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
)

const (
	// maxAnswer bounds one answer of a server: all that it has may come at once.
	maxAnswer = 16 << 20
	// endTimeout bounds the wait for a server to end a conversation.
	endTimeout = time.Second
)

// ErrNoReflection says that the target does not tell which services it has.
var ErrNoReflection = errors.New("the target does not serve gRPC reflection: turn reflection on there, or give its descriptors with --descriptors")

// Reflection asks the target itself.
type Reflection struct {
	conn   grpc.ClientConnInterface
	wanted []string
}

// NewReflection makes a source that asks over the connection. wanted are the full
// names of services, none for all that are not reserved.
func NewReflection(conn grpc.ClientConnInterface, wanted []string) *Reflection {
	return &Reflection{conn: conn, wanted: wanted}
}

// Learn implements [Source]. Errors: [ErrNoReflection], those of the call, and
// what is wrong with the answers.
func (r *Reflection) Learn(ctx context.Context) (*Schema, error) {
	for _, version := range []string{reflectV1, reflectV1Alpha} {
		schema, err := r.learn(ctx, version)
		if status.Code(err) != codes.Unimplemented {
			return schema, err
		}
	}
	return nil, ErrNoReflection
}

// learn has one conversation, which is with one server.
func (r *Reflection) learn(ctx context.Context, version string) (*Schema, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, version, grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask the target for its services: %w", err)
	}
	t := &talk{stream: stream, files: newFiles()}
	schema, err := t.learn(r.wanted)
	if err != nil {
		return nil, fmt.Errorf("ask the target for its services: %w", err)
	}
	defer time.AfterFunc(endTimeout, cancel).Stop()
	t.end()
	return schema, nil
}

// talk is a conversation with a server.
type talk struct {
	stream grpc.ClientStream
	files  *files
}

func (t *talk) learn(wanted []string) (*Schema, error) {
	offered, err := t.offered()
	if err != nil {
		return nil, err
	}
	services, err := choose(offered, wanted)
	if err != nil {
		return nil, err
	}
	for _, name := range services {
		if t.files.services[name] != nil {
			continue
		}
		request := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}}
		if err := t.fetch(request); err != nil {
			return nil, fmt.Errorf("the file of service %s: %w", name, err)
		}
	}
	if err := t.files.restoreImports(); err != nil {
		return nil, err
	}
	if err := t.complete(); err != nil {
		return nil, err
	}
	return newSchema(services, t.files)
}

func (t *talk) offered() ([]string, error) {
	answer, err := t.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range answer.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names, nil
}

// complete fetches what the files import until nothing is missing.
func (t *talk) complete() error {
	for {
		importer, path := t.files.missing()
		if path == "" {
			return nil
		}
		err := t.fetch(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: path}})
		var refusal *refusal
		if errors.As(err, &refusal) {
			err = errors.Join(t.addWellKnown(path), err)
			if t.files.byPath[path] != nil {
				err = nil
			}
		}
		if err == nil && t.files.byPath[path] == nil {
			err = errors.New("the target answered with other files")
		}
		if err != nil {
			return fmt.Errorf("%q imports %q: %w", importer, path, err)
		}
	}
}

// addWellKnown adds a file that comes with protobuf itself: some servers take it
// for granted.
func (t *talk) addWellKnown(path string) error {
	if !strings.HasPrefix(path, "google/protobuf/") {
		return nil
	}
	known, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return err
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(known))
	if err != nil {
		return err
	}
	return t.files.add(raw)
}

// fetch adds the files that the server answers with: the one asked for, often
// with all that it imports.
func (t *talk) fetch(request *reflectionpb.ServerReflectionRequest) error {
	answer, err := t.ask(request)
	if err != nil {
		return err
	}
	for _, raw := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		if err := t.files.add(raw); err != nil {
			return err
		}
	}
	return nil
}

// refusal is a server's answer that it has not what was asked for.
type refusal struct {
	code    codes.Code
	message string
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("the target answers %s: %s", r.code, r.message) }

func (t *talk) ask(request *reflectionpb.ServerReflectionRequest) (*reflectionpb.ServerReflectionResponse, error) {
	// If it can't be sent, what is received says why.
	_ = t.stream.SendMsg(request)
	answer := &reflectionpb.ServerReflectionResponse{}
	err := t.stream.RecvMsg(answer)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the target left a question without an answer")
	}
	if err != nil {
		return nil, err
	}
	if e := answer.GetErrorResponse(); e != nil {
		return nil, &refusal{codes.Code(e.GetErrorCode()), e.GetErrorMessage()}
	}
	return answer, nil
}

// end lets the server end the conversation as it likes to: in order.
func (t *talk) end() {
	if t.stream.CloseSend() == nil {
		_ = t.stream.RecvMsg(&reflectionpb.ServerReflectionResponse{})
	}
}

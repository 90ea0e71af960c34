package discovery

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

// frugal is a server whose answers have the one file that was asked for, and which
// has none of protobuf's own.
type frugal struct {
	reflectionpb.UnimplementedServerReflectionServer

	services []string
	// bySymbol and byPath are the files that it has.
	bySymbol, byPath map[string][]byte
	asked            []string
}

func (f *frugal) ServerReflectionInfo(stream reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(f.answer(request)); err != nil {
			return err
		}
	}
}

func (f *frugal) answer(request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
	switch r := request.MessageRequest.(type) {
	case *reflectionpb.ServerReflectionRequest_ListServices:
		list := &reflectionpb.ListServiceResponse{}
		for _, name := range f.services {
			list.Service = append(list.Service, &reflectionpb.ServiceResponse{Name: name})
		}
		return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}}
	case *reflectionpb.ServerReflectionRequest_FileContainingSymbol:
		return f.file(f.bySymbol, r.FileContainingSymbol)
	case *reflectionpb.ServerReflectionRequest_FileByFilename:
		return f.file(f.byPath, r.FileByFilename)
	}
	return refuse(codes.Unimplemented, "what?")
}

func (f *frugal) file(files map[string][]byte, name string) *reflectionpb.ServerReflectionResponse {
	f.asked = append(f.asked, name)
	raw, ok := files[name]
	if !ok {
		return refuse(codes.NotFound, "no "+name)
	}
	return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_FileDescriptorResponse{
		FileDescriptorResponse: &reflectionpb.FileDescriptorResponse{FileDescriptorProto: [][]byte{raw}},
	}}
}

func refuse(code codes.Code, message string) *reflectionpb.ServerReflectionResponse {
	return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_ErrorResponse{
		ErrorResponse: &reflectionpb.ErrorResponse{ErrorCode: int32(code), ErrorMessage: message},
	}}
}

func newFrugal(t *testing.T) *frugal {
	t.Helper()
	files := encoded(t, targettest.Set())
	return &frugal{
		services: []string{"grpc.reflection.v1.ServerReflection", targettest.Service},
		bySymbol: map[string][]byte{targettest.Service: files[targettest.FileEcho]},
		byPath:   map[string][]byte{targettest.FileTypes: files[targettest.FileTypes], targettest.FileDur: files[targettest.FileDur]},
	}
}

func TestReflection(t *testing.T) {
	t.Parallel()
	schema, err := learn(t, targettest.Config{Offer: targettest.Files(t)})
	require.NoError(t, err)
	requireEcho(t, schema)
	again, err := learn(t, targettest.Config{Offer: targettest.Files(t)}, targettest.Service)
	require.NoError(t, err)
	require.Equal(t, schema.ID(), again.ID())
	other, err := learn(t, targettest.Config{Offer: targettest.Files(t, "More")})
	require.NoError(t, err)
	require.NotEqual(t, schema.ID(), other.ID())
}

func TestReflectionOfServersThatKnowTheOldVersionOnly(t *testing.T) {
	t.Parallel()
	schema, err := learn(t, targettest.Config{Offer: targettest.Files(t), OldReflection: true})
	require.NoError(t, err)
	requireEcho(t, schema)
}

func TestReflectionOfServersThatSendOneFileAtATime(t *testing.T) {
	t.Parallel()
	server := newFrugal(t)
	schema, err := learn(t, targettest.Config{Reflect: server})
	require.NoError(t, err)
	requireEcho(t, schema)
	require.Equal(t, []string{targettest.Service, targettest.FileTypes, targettest.FileDur}, server.asked)
	require.Equal(t, server.bySymbol[targettest.Service], schema.Files[2], "as the server has it, byte for byte")
}

func TestReflectionOfServersThatLeaveOutProtobufsOwnFiles(t *testing.T) {
	t.Parallel()
	server := newFrugal(t)
	delete(server.byPath, targettest.FileDur)
	schema, err := learn(t, targettest.Config{Reflect: server})
	require.NoError(t, err)
	requireEcho(t, schema)
}

func TestReflectionNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	t.Run("reflection", func(t *testing.T) {
		t.Parallel()
		_, err := learn(t, targettest.Config{})
		require.ErrorIs(t, err, ErrNoReflection)
		require.ErrorContains(t, err, "--descriptors")
	})
	t.Run("an import", func(t *testing.T) {
		t.Parallel()
		server := newFrugal(t)
		delete(server.byPath, targettest.FileTypes)
		_, err := learn(t, targettest.Config{Reflect: server})
		require.ErrorContains(t, err, `"acme/v1/echo.proto" imports "acme/v1/types.proto": the target answers NotFound`)
	})
	t.Run("an import that is another file", func(t *testing.T) {
		t.Parallel()
		server := newFrugal(t)
		server.byPath[targettest.FileTypes] = server.byPath[targettest.FileDur]
		_, err := learn(t, targettest.Config{Reflect: server})
		require.ErrorContains(t, err, "other files")
	})
	t.Run("the file of a service", func(t *testing.T) {
		t.Parallel()
		server := newFrugal(t)
		server.services = append(server.services, "acme.v1.Ghost")
		_, err := learn(t, targettest.Config{Reflect: server})
		require.ErrorContains(t, err, "acme.v1.Ghost: the target answers NotFound")
	})
	t.Run("a service", func(t *testing.T) {
		t.Parallel()
		_, err := learn(t, targettest.Config{Offer: targettest.Files(t)}, "acme.v1.Other")
		require.ErrorContains(t, err, "no service acme.v1.Other (--service); it has acme.v1.Echo, grpc.health.v1.Health")
	})
	t.Run("any service", func(t *testing.T) {
		t.Parallel()
		server := newFrugal(t)
		server.services = server.services[:1]
		_, err := learn(t, targettest.Config{Reflect: server})
		require.ErrorContains(t, err, "only grpc.reflection.v1.ServerReflection")
	})
	t.Run("a server", func(t *testing.T) {
		t.Parallel()
		_, err := learn(t, targettest.Config{Reflect: &hungUp{}})
		require.Equal(t, codes.Unavailable, status.Code(err))
		_, err = learn(t, targettest.Config{Reflect: &hungUp{inOrder: true}})
		require.ErrorContains(t, err, "without an answer")
	})
}

// hungUp ends each conversation at once.
type hungUp struct {
	reflectionpb.UnimplementedServerReflectionServer

	inOrder bool
}

func (h *hungUp) ServerReflectionInfo(reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
	if h.inOrder {
		return nil
	}
	return status.Error(codes.Unavailable, "not now")
}

package catalogue_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	rv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	rv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// serveReflection starts a server with health and reflection, and connects.
func serveReflection(t *testing.T, c *catalogue.Catalogue) *grpc.ClientConn {
	t.Helper()
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, health.NewServer())
	catalogue.RegisterReflection(server, c)
	listener := bufconn.Listen(1 << 20)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// reflector asks one question after the other on one stream of v1.
type reflector struct {
	t      *testing.T
	stream rv1.ServerReflection_ServerReflectionInfoClient
}

func newReflector(t *testing.T, conn *grpc.ClientConn) reflector {
	t.Helper()
	stream, err := rv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	return reflector{t, stream}
}

func (r reflector) ask(req *rv1.ServerReflectionRequest) *rv1.ServerReflectionResponse {
	r.t.Helper()
	require.NoError(r.t, r.stream.Send(req))
	resp, err := r.stream.Recv()
	require.NoError(r.t, err)
	return resp
}

func (r reflector) services() []string {
	r.t.Helper()
	resp := r.ask(&rv1.ServerReflectionRequest{MessageRequest: &rv1.ServerReflectionRequest_ListServices{}})
	var out []string
	for _, s := range resp.GetListServicesResponse().GetService() {
		out = append(out, s.GetName())
	}
	return out
}

func (r reflector) symbol(name string) *rv1.ServerReflectionResponse {
	r.t.Helper()
	return r.ask(&rv1.ServerReflectionRequest{
		MessageRequest: &rv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name},
	})
}

// build links the files of an answer, as a client does.
func (r reflector) build(resp *rv1.ServerReflectionResponse) *protoregistry.Files {
	r.t.Helper()
	require.Nil(r.t, resp.GetErrorResponse())
	set := new(descriptorpb.FileDescriptorSet)
	for _, raw := range resp.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := new(descriptorpb.FileDescriptorProto)
		require.NoError(r.t, proto.Unmarshal(raw, file))
		set.File = append(set.File, file)
	}
	files, err := protodesc.NewFiles(set)
	require.NoError(r.t, err)
	return files
}

var ownServices = []string{
	"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
}

func TestReflectionShowsAServiceLearnedAfterTheStart(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	r := newReflector(t, serveReflection(t, c))
	require.Equal(t, ownServices, r.services())
	require.NotNil(t, r.symbol("acme.v1.ImageService").GetErrorResponse())

	mustPut(t, c, 1, imageAnnouncement(t))
	require.Equal(t, append([]string{"acme.v1.ImageService"}, ownServices...), r.services())
	files := r.build(r.symbol("acme.v1.ImageService"))
	_, err := files.FindDescriptorByName("acme.v1.ImageService.Resize")
	require.NoError(t, err)
	_, err = files.FindFileByPath("google/protobuf/any.proto")
	require.NoError(t, err, "with all that it imports")

	for _, symbol := range []string{"acme.v1.ImageService.Chat", "acme.v1.ResizeRequest", "acme.v1.Item.name"} {
		files := newReflector(t, serveReflection(t, c)).symbol(symbol)
		require.Nil(t, files.GetErrorResponse(), symbol)
	}
}

func TestReflectionShowsWhatIsLinked(t *testing.T) {
	t.Parallel()
	r := newReflector(t, serveReflection(t, catalogue.New()))
	r.build(r.symbol("grpc.health.v1.Health"))
	require.Nil(t, r.symbol("google.rpc.ErrorInfo").GetErrorResponse(), "clients show error details by it")
	require.Nil(t, r.symbol("warren.task.v1.Task").GetErrorResponse())
	resp := r.ask(&rv1.ServerReflectionRequest{
		MessageRequest: &rv1.ServerReflectionRequest_FileByFilename{FileByFilename: "warren/task/v1/options.proto"},
	})
	require.Nil(t, resp.GetErrorResponse())
}

func TestReflectionV1Alpha(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 1, imageAnnouncement(t))
	stream, err := rv1alpha.NewServerReflectionClient(serveReflection(t, c)).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&rv1alpha.ServerReflectionRequest{MessageRequest: &rv1alpha.ServerReflectionRequest_ListServices{}}))
	resp, err := stream.Recv()
	require.NoError(t, err)
	require.Len(t, resp.GetListServicesResponse().GetService(), 1+len(ownServices))

	require.NoError(t, stream.Send(&rv1alpha.ServerReflectionRequest{
		MessageRequest: &rv1alpha.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "acme.v1.ImageService"},
	}))
	resp, err = stream.Recv()
	require.NoError(t, err)
	require.Len(t, resp.GetFileDescriptorResponse().GetFileDescriptorProto(), 3)
}

func TestReflectionAnswersFromTheBundleOfTheService(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	first, second := sharedNames(t)
	mustPut(t, c, 1, second)
	mustPut(t, c, 1, first)
	conn := serveReflection(t, c)
	for _, svc := range []string{"a", "b"} {
		files := newReflector(t, conn)
		for _, symbol := range []string{"acme." + svc + ".Echoes", "acme." + svc + ".Echoes.Say"} {
			r := newReflector(t, conn)
			desc, err := r.build(r.symbol(symbol)).FindDescriptorByName(protoreflect.FullName("shared.Thing.from_" + svc))
			require.NoError(t, err, "one path, two contents: each service comes with its own")
			require.NotNil(t, desc)
		}
		require.Nil(t, files.symbol("shared.Thing").GetErrorResponse())
	}
}

// A service that this process happens to link is still shown as announced.
func TestReflectionPrefersTheAnnouncedServiceToALinkedOne(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "demo.v1.ImageService", echoFile("demo/v1/image_service.proto", "demo.v1", "ImageService", "text")))
	r := newReflector(t, serveReflection(t, c))
	_, err := r.build(r.symbol("demo.v1.ImageService")).FindDescriptorByName("demo.v1.ImageService.Say")
	require.NoError(t, err)
}

func TestReflectionShowsExtensions(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "acme.Echoes", foreignOptionFile(t, new(taskv1.TaskOptions))...))
	r := newReflector(t, serveReflection(t, c))
	resp := r.ask(&rv1.ServerReflectionRequest{MessageRequest: &rv1.ServerReflectionRequest_AllExtensionNumbersOfType{
		AllExtensionNumbersOfType: "google.protobuf.MethodOptions",
	}})
	require.Subset(t, resp.GetAllExtensionNumbersResponse().GetExtensionNumber(), []int32{optionNumber, 60000})
	resp = r.ask(&rv1.ServerReflectionRequest{MessageRequest: &rv1.ServerReflectionRequest_FileContainingExtension{
		FileContainingExtension: &rv1.ExtensionRequest{ContainingType: "google.protobuf.MethodOptions", ExtensionNumber: 60000},
	}})
	_, err := r.build(resp).FindDescriptorByName("acme.owner")
	require.NoError(t, err)
}

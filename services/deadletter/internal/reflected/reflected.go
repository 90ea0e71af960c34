// Package reflected is gRPC reflection for a server that shows messages of types which
// only a gateway knows: payloads, and details of failures.
package reflected

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

// askTimeout bounds a question to the gateway.
const askTimeout = 5 * time.Second

// Register registers reflection, v1 and v1alpha, on a server whose services are all
// registered by now. It lists those. By v1, which clients use first, a file or symbol
// that is not known here is looked up at the gateway; one that does not answer has none.
func Register(s *grpc.Server, gateway grpc.ClientConnInterface) {
	own := reflection.ServerOptions{Services: s}
	reflectionv1.RegisterServerReflectionServer(s, &server{
		own: reflection.NewServerV1(own), gateway: reflectionv1.NewServerReflectionClient(gateway),
	})
	reflectionv1alpha.RegisterServerReflectionServer(s, reflection.NewServer(own))
}

type server struct {
	reflectionv1.UnimplementedServerReflectionServer

	own     reflectionv1.ServerReflectionServer
	gateway reflectionv1.ServerReflectionClient
}

// ServerReflectionInfo implements grpc.reflection.v1.ServerReflection.
func (s *server) ServerReflectionInfo(stream reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	return s.own.ServerReflectionInfo(&answering{ServerReflection_ServerReflectionInfoServer: stream, gateway: s.gateway})
}

// answering sends the gateway's answer where there is none here.
type answering struct {
	reflectionv1.ServerReflection_ServerReflectionInfoServer

	gateway reflectionv1.ServerReflectionClient
}

// Send implements the stream.
func (a *answering) Send(m *reflectionv1.ServerReflectionResponse) error {
	if m.GetErrorResponse().GetErrorCode() == int32(codes.NotFound) {
		if known, err := a.ask(m.OriginalRequest); err == nil && known.GetErrorResponse() == nil {
			m = known
		}
	}
	return a.ServerReflection_ServerReflectionInfoServer.Send(m)
}

func (a *answering) ask(question *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
	ctx, cancel := context.WithTimeout(a.Context(), askTimeout)
	defer cancel()
	stream, err := a.gateway.ServerReflectionInfo(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	// An error of Send is io.EOF, and Recv has the reason.
	if err := stream.Send(question); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	_ = stream.CloseSend()
	answer, err := stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	return answer, nil
}

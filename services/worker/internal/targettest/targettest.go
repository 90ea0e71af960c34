// Package targettest has gRPC servers for the tests of who calls them.
package targettest

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

// Config says what a server is like.
type Config struct {
	// Addr is where it listens. Default a free port of this machine, which stays free
	// when the server ends, so that another can be started there.
	Addr string
	// Handle answers all calls, whose messages are frames. Default is to refuse.
	Handle grpc.StreamHandler
	// Offer are the services that it says it has. Default none, and no reflection.
	Offer *protoregistry.Files
	// OldReflection: it knows the older version of reflection only.
	OldReflection bool
	// Reflect serves reflection instead of gRPC's own.
	Reflect reflectionv1.ServerReflectionServer
	// NoHealth: it does not know the health protocol.
	NoHealth bool
	Options  []grpc.ServerOption
}

// Server is one that runs.
type Server struct {
	Addr   string
	Health *health.Server

	server *grpc.Server
	served chan error
}

// Start starts a server, which ends with the test.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Addr == "" {
		return Serve(t, porttest.Listen(t), cfg)
	}
	return Serve(t, porttest.ListenAt(t, cfg.Addr), cfg)
}

// Serve is [Start] with a listener.
func Serve(t testing.TB, listener net.Listener, cfg Config) *Server {
	t.Helper()
	options := append([]grpc.ServerOption{grpc.ForceServerCodecV2(frame.Codec()), grpc.MaxRecvMsgSize(64 << 20)}, cfg.Options...)
	if cfg.Handle != nil {
		options = append(options, grpc.UnknownServiceHandler(cfg.Handle))
	}
	s := &Server{Addr: listener.Addr().String(), Health: health.NewServer(), server: grpc.NewServer(options...), served: make(chan error, 1)}
	if !cfg.NoHealth {
		grpc_health_v1.RegisterHealthServer(s.server, s.Health)
	}
	cfg.reflect(s.server)
	go func() { s.served <- s.server.Serve(listener) }()
	t.Cleanup(s.Stop)
	return s
}

func (c Config) reflect(s *grpc.Server) {
	server := c.Reflect
	if c.Offer != nil {
		server = reflection.NewServerV1(reflection.ServerOptions{Services: offered{c.Offer}, DescriptorResolver: c.Offer})
	}
	if server == nil {
		return
	}
	// The messages of both versions are the same on the wire.
	old := reflectionv1.ServerReflection_ServiceDesc
	old.ServiceName = "grpc.reflection.v1alpha.ServerReflection"
	s.RegisterService(&old, server)
	if !c.OldReflection {
		reflectionv1.RegisterServerReflectionServer(s, server)
	}
}

// offered are the services of the files, and one of gRPC's own.
type offered struct{ files *protoregistry.Files }

// GetServiceInfo implements [reflection.ServiceInfoProvider].
func (o offered) GetServiceInfo() map[string]grpc.ServiceInfo {
	all := map[string]grpc.ServiceInfo{"grpc.health.v1.Health": {}}
	for _, name := range serviceNames(o.files) {
		all[name] = grpc.ServiceInfo{}
	}
	return all
}

// Stop breaks off what runs.
func (s *Server) Stop() { s.server.Stop() }

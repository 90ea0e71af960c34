package cmd

import (
	"os"

	"google.golang.org/grpc"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/services/demo/internal/faults"
	"github.com/warrenmq/warren/services/demo/internal/images"
)

// register is all that a service has to do, for a gRPC server and for a Warren
// worker alike.
func register(s grpc.ServiceRegistrar) {
	demov1.RegisterImageServiceServer(s, images.NewService())
	demov1.RegisterFaultServiceServer(s, faults.NewService(os.Exit))
}

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

// targetEnv makes this test binary a gRPC server that knows nothing of Warren but
// the metadata of its calls; its value is the recorder's address, its first
// argument where it listens.
const targetEnv = "E2E_TARGET_RECORDER"

func targetMain() int {
	if err := serveTarget(os.Getenv(targetEnv), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveTarget(recorder, address string) error {
	c, err := net.Dial("tcp", recorder)
	if err != nil {
		return fmt.Errorf("connect to the recorder: %w", err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := grpc.NewServer()
	demov1.RegisterFaultServiceServer(s, &plainFaults{recorder: c})
	if err := registerEcho(s); err != nil {
		return err
	}
	reflection.Register(s)
	return s.Serve(l)
}

// plainFaults has the one method that the tests of a killed target need.
type plainFaults struct {
	demov1.UnimplementedFaultServiceServer

	mu       sync.Mutex
	recorder io.Writer
}

// Delay reports its start, before anything else happens, and takes its time.
func (f *plainFaults) Delay(ctx context.Context, r *demov1.DelayRequest) (*demov1.DelayResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	of := func(key string) string { return md.Get(key)[0] }
	f.mu.Lock()
	_, err := fmt.Fprintf(f.recorder, "%s %s %s\n", of("warren-task-id"), of("warren-run"), of("warren-attempt"))
	f.mu.Unlock()
	if err != nil {
		// A start that is not recorded would make the judge blind.
		fmt.Fprintln(os.Stderr, "the recorder is gone:", err)
		os.Exit(3)
	}
	return &demov1.DelayResponse{}, wait(ctx, r.Delay.AsDuration())
}

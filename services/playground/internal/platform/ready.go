//go:build unix

package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	pollInterval = 50 * time.Millisecond
	pollTimeout  = 5 * time.Second
)

// taskTypes is a name for what the worker registers, for people.
const taskTypes = "demo.v1.ImageService and demo.v1.FaultService"

// storeHealth is the name of a server's store in gRPC's health service.
const storeHealth = "warren.store"

// gatewayHealth are the names there that must be SERVING of the gateway.
func gatewayHealth() []string {
	return []string{taskv1.TaskService_ServiceDesc.ServiceName, storeHealth}
}

// deadletterHealth are those of the dead-letter service.
func deadletterHealth() []string {
	return []string{deadletterv1.DeadLetterService_ServiceDesc.ServiceName, storeHealth}
}

// waitServing waits until the server says that it serves each of the names.
func waitServing(ctx context.Context, conn *grpc.ClientConn, names []string) error {
	client := healthpb.NewHealthClient(conn)
	for _, name := range names {
		err := poll(ctx, func(ctx context.Context) (bool, error) {
			answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: name})
			switch status.Code(err) {
			case codes.OK:
			case codes.Unavailable, codes.NotFound, codes.DeadlineExceeded:
				return false, nil
			default:
				return false, fmt.Errorf("ask for the health of %s: %w", name, err)
			}
			return answer.GetStatus() == healthpb.HealthCheckResponse_SERVING, nil
		})
		if err != nil {
			return fmt.Errorf("wait until %s is SERVING: %w", name, err)
		}
	}
	return nil
}

// waitRegistered waits until the gateway knows the worker's task types. It asks
// with a submission of the wrong payload: refused for the type at first and for
// the payload later, it leaves no task behind.
func waitRegistered(ctx context.Context, conn *grpc.ClientConn) error {
	wrong, err := anypb.New(&emptypb.Empty{})
	if err != nil {
		return fmt.Errorf("encode an empty message: %w", err)
	}
	client := taskv1.NewTaskServiceClient(conn)
	for _, method := range []string{demov1.ImageService_ContactSheet_FullMethodName, demov1.FaultService_Fail_FullMethodName} {
		taskType := TaskType(method)
		err := poll(ctx, func(ctx context.Context) (bool, error) {
			_, err := client.SubmitTask(ctx, &taskv1.SubmitTaskRequest{Type: taskType, Payload: wrong})
			switch status.Code(err) {
			case codes.InvalidArgument:
				return true, nil
			case codes.NotFound, codes.Unavailable, codes.DeadlineExceeded:
				return false, nil
			default:
				return false, fmt.Errorf("ask for the task type %s with a payload of the wrong type: %w", taskType, err)
			}
		})
		if err != nil {
			return fmt.Errorf("wait for the task type %s: %w", taskType, err)
		}
	}
	return nil
}

// TaskType is the task type of a method in the form `/package.Service/Method`
// that generated code has.
func TaskType(fullMethod string) string {
	return strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", ".")
}

// poll asks until it is told yes, or an error, or the context ends.
func poll(ctx context.Context, ask func(context.Context) (bool, error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		yes, err := within(ctx, pollTimeout, ask)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if yes || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func within(ctx context.Context, timeout time.Duration, ask func(context.Context) (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return ask(ctx)
}

package workertest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker/workertest"
)

// thumbnails is an ordinary service, as one's own.
type thumbnails struct {
	demov1.UnimplementedImageServiceServer
}

func (thumbnails) Thumbnail(ctx context.Context, r *demov1.ThumbnailRequest) (*demov1.ThumbnailResponse, error) {
	if info, _ := task.FromContext(ctx); info.Attempt < 3 {
		return nil, task.RetryAfter(status.Error(codes.Unavailable, "the store is closed"), time.Minute)
	}
	task.Progress(ctx, 0.5, "half of it")
	return &demov1.ThumbnailResponse{Width: r.MaxWidth}, nil
}

func ExampleRun() {
	// In a test this is its t.
	var t testing.TB = new(testing.T)

	register := func(r grpc.ServiceRegistrar) { demov1.RegisterImageServiceServer(r, thumbnails{}) }
	request := &demov1.ThumbnailRequest{MaxWidth: 64}
	first := workertest.Run(t, register, demov1.ImageService_Thumbnail_FullMethodName, request)
	fmt.Println(first.State, first.Status.Code(), first.NextAttempt, first.Delay.Round(time.Second))

	third := workertest.Run(t, register, demov1.ImageService_Thumbnail_FullMethodName, request, workertest.Attempt(3))
	answer, ok := third.Message().(*demov1.ThumbnailResponse)
	fmt.Println(third.State, ok, answer.GetWidth(), third.Progress[0].Message)
	// Output:
	// RETRYING Unavailable 2 1m0s
	// SUCCEEDED true 64 half of it
}

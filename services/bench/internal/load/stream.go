package load

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Streams is how many streams submit tasks at the same time.
const Streams = 4

// Stream submits n tasks by [Streams] streams, each as fast as it may.
func (l *Load) Stream(ctx context.Context, n int) (Rates, error) {
	return l.measure(ctx, n, func(ctx context.Context, request *taskv1.SubmitTaskRequest) error {
		all, ctx := errgroup.WithContext(ctx)
		for stream := range Streams {
			tasks, share := l.Tasks[stream%len(l.Tasks)], n/Streams
			if stream < n%Streams {
				share++
			}
			if share == 0 {
				continue
			}
			all.Go(func() error {
				if err := submitStream(ctx, tasks, request, share); err != nil {
					return fmt.Errorf("submit by a stream: %w", err)
				}
				return nil
			})
		}
		return all.Wait()
	})
}

// submitStream submits n tasks by a stream and reads their answers.
func submitStream(ctx context.Context, tasks taskv1.TaskServiceClient, request *taskv1.SubmitTaskRequest, n int) error {
	// Its context ends with the first error, which no sender outlasts then.
	both, ctx := errgroup.WithContext(ctx)
	stream, err := tasks.SubmitTasks(ctx)
	if err != nil {
		return errors.Join(err, both.Wait())
	}
	both.Go(func() error {
		message := &taskv1.SubmitTasksRequest{Request: request}
		for range n {
			err := stream.Send(message)
			if errors.Is(err, io.EOF) {
				// Whoever receives is told why the stream has ended.
				return nil
			}
			if err != nil {
				return err
			}
		}
		return stream.CloseSend()
	})
	both.Go(func() error { return readAnswers(stream, n) })
	return both.Wait()
}

// answers are those of a stream.
type answers interface {
	Recv() (*taskv1.SubmitTasksResponse, error)
}

// readAnswers reads n answers, in their order, and the end of the stream.
func readAnswers(stream answers, n int) error {
	for number := int64(1); number <= int64(n); number++ {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the stream ended after %d answers of %d", number-1, n)
		}
		if err != nil {
			return err
		}
		if answer.GetNumber() != number {
			return fmt.Errorf("answer %d came in the place of answer %d", answer.GetNumber(), number)
		}
		if failed := answer.GetError(); failed != nil {
			return fmt.Errorf("submit task %d: %w", number, status.FromProto(failed).Err())
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the stream went on after its last answer: %w", err)
	}
	return nil
}

package api

import (
	"context"
	"time"

	"google.golang.org/grpc"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// maxUnanswered and maxUnansweredBytes bound what of a stream is taken before it is
	// answered: at either no more is read, but for one request.
	maxUnanswered      = 1000
	maxUnansweredBytes = MaxBatchBytes
	// maxIntakeBytes bounds what of all streams is read and not submitted yet, but for
	// one request of each.
	maxIntakeBytes = 256 << 20
	// maxFarewell is for how long a client can take the answers that are due to it when
	// the server stops.
	maxFarewell = 3 * time.Second
)

// SubmitTasks implements warren.task.v1.TaskService. What gathers while a batch is
// submitted makes the next one.
func (s *TaskService) SubmitTasks(stream grpc.BidiStreamingServer[taskv1.SubmitTasksRequest, taskv1.SubmitTasksResponse]) error {
	ctx := stream.Context()
	first, err := newCall(ctx)
	if err != nil {
		return err
	}
	in := newIntake(s.intake)
	defer in.close()
	// gRPC ends a stream with its handler, and with the stream what receives and sends
	// on it, in goroutines of their own too: this returns right after the handler.
	go in.read(ctx, stream.Recv)
	out := &answers{stream: stream, in: in}
	for {
		received, err := in.take(ctx, s.stopping)
		if len(received) == 0 {
			return err
		}
		results := s.submitReceived(ctx, first.again(), received, out)
		if err := out.send(sizesOf(received), results, s.stopping); err != nil {
			return err
		}
	}
}

// submitReceived submits requests, and forgets them: their answers may wait for long.
func (s *TaskService) submitReceived(ctx context.Context, c call, received []received, out *answers) []*taskv1.BatchSubmitTasksResult {
	requests := make([]*taskv1.SubmitTaskRequest, len(received))
	for i := range received {
		requests[i], received[i].request = received[i].request, nil
	}
	defer out.in.submitted(received)
	b := s.submitBatch(ctx, c, requests)
	if !out.noted {
		out.noted = noteFirst(ctx, b.subs)
	}
	results := b.finish()
	s.metrics.batchAnswered(ctx, requests, results)
	return results
}

// answers are sent in the order of the requests.
type answers struct {
	stream grpc.BidiStreamingServer[taskv1.SubmitTasksRequest, taskv1.SubmitTasksResponse]
	in     *intake
	number int64
	// noted says that the log has why one failed.
	noted bool
}

// send blocks as long as the client does not read and the server goes on. After an
// error nothing can be sent any more.
func (a *answers) send(sizes []int, results []*taskv1.BatchSubmitTasksResult, stopping <-chan struct{}) error {
	sent := make(chan error, 1)
	// Where the client does not read, this ends like the reader; nobody else looks at
	// what it has then.
	go func() { sent <- a.sendAll(sizes, results) }()
	select {
	case err := <-sent:
		return err
	case <-stopping:
	}
	timer := time.NewTimer(maxFarewell)
	defer timer.Stop()
	select {
	case err := <-sent:
		return err
	case <-timer.C:
		return shuttingDown()
	}
}

func (a *answers) sendAll(sizes []int, results []*taskv1.BatchSubmitTasksResult) error {
	for i, r := range results {
		a.number++
		m := &taskv1.SubmitTasksResponse{Number: a.number, Result: &taskv1.SubmitTasksResponse_Response{Response: r.GetResponse()}}
		if e := r.GetError(); e != nil {
			m.Result = &taskv1.SubmitTasksResponse_Error{Error: e}
		}
		if err := a.stream.Send(m); err != nil {
			return err
		}
		a.in.answered(sizes[i])
	}
	return nil
}

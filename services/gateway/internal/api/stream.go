package api

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// maxUnanswered and maxUnansweredBytes bound what of a stream is taken before it is
	// answered: at either no more is read, but for one request.
	maxUnanswered      = 1000
	maxUnansweredBytes = MaxBatchBytes
)

// SubmitTasks implements warren.task.v1.TaskService. What gathers while a batch is
// submitted makes the next one.
func (s *TaskService) SubmitTasks(stream grpc.BidiStreamingServer[taskv1.SubmitTasksRequest, taskv1.SubmitTasksResponse]) error {
	ctx := stream.Context()
	first, err := newCall(ctx)
	if err != nil {
		return err
	}
	in := newIntake()
	// A stream is read until its handler has returned: this ends right after that.
	go in.read(ctx, stream.Recv)
	out := &answers{stream: stream, in: in}
	for {
		requests, err := in.take(ctx, s.stopping)
		if len(requests) == 0 {
			return err
		}
		b := s.submitBatch(ctx, first.again(), requests)
		if !out.noted {
			out.noted = noteFirst(ctx, b.subs)
		}
		if err := out.send(requests, b.finish()); err != nil {
			return err
		}
	}
}

// answers are sent in the order of the requests.
type answers struct {
	stream grpc.BidiStreamingServer[taskv1.SubmitTasksRequest, taskv1.SubmitTasksResponse]
	in     *intake
	number int64
	// noted says that the log has why one failed.
	noted bool
}

// send blocks as long as the client does not read.
func (a *answers) send(requests []*taskv1.SubmitTaskRequest, results []*taskv1.BatchSubmitTasksResult) error {
	for i, r := range results {
		a.number++
		m := &taskv1.SubmitTasksResponse{Number: a.number, Result: &taskv1.SubmitTasksResponse_Response{Response: r.GetResponse()}}
		if e := r.GetError(); e != nil {
			m.Result = &taskv1.SubmitTasksResponse_Error{Error: e}
		}
		if err := a.stream.Send(m); err != nil {
			return err
		}
		a.in.answered(requests[i])
	}
	return nil
}

// intake is what was read of a stream and is not answered yet.
type intake struct {
	mu      sync.Mutex
	waiting []*taskv1.SubmitTaskRequest
	// unanswered and bytes count those that wait and those that are being submitted.
	unanswered, bytes int
	// end is why nothing comes any more; nil as long as something may.
	end error

	// more has a value when there is something to take, room when there is room again.
	more, room chan struct{}
}

func newIntake() *intake {
	return &intake{more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// read takes requests in while there is room, until the stream has ended.
func (in *intake) read(ctx context.Context, receive func() (*taskv1.SubmitTasksRequest, error)) {
	for in.awaitRoom(ctx) {
		m, err := receive()
		if !in.add(m, err) {
			return
		}
	}
}

// awaitRoom says whether more may be read.
func (in *intake) awaitRoom(ctx context.Context) bool {
	for {
		in.mu.Lock()
		full, ended := in.unanswered >= maxUnanswered || in.bytes >= maxUnansweredBytes, in.end != nil
		in.mu.Unlock()
		if !full || ended {
			return !ended
		}
		select {
		case <-in.room:
		case <-ctx.Done():
			return false
		}
	}
}

// add takes a request in, or why there is none; false once there are no more.
func (in *intake) add(m *taskv1.SubmitTasksRequest, err error) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	defer signal(in.more)
	switch {
	case in.end != nil:
	case err != nil:
		in.end = err
	default:
		r := m.GetRequest()
		if r == nil {
			r = &taskv1.SubmitTaskRequest{} // which is not valid
		}
		in.waiting = append(in.waiting, r)
		in.unanswered, in.bytes = in.unanswered+1, in.bytes+proto.Size(r)
	}
	return in.end == nil
}

// take waits for requests, and returns all that there are, or else why there will be
// none; nil for the end of the stream. When the server stops it takes no more in.
func (in *intake) take(ctx context.Context, stopping <-chan struct{}) ([]*taskv1.SubmitTaskRequest, error) {
	for {
		select {
		case <-stopping:
			in.stop()
		default:
		}
		requests, end := in.takeWaiting()
		switch {
		case len(requests) > 0:
			return requests, nil
		case errors.Is(end, io.EOF):
			return nil, nil
		case end != nil:
			return nil, end
		}
		select {
		case <-in.more:
		case <-stopping:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (in *intake) takeWaiting() ([]*taskv1.SubmitTaskRequest, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	requests := in.waiting
	in.waiting = nil
	return requests, in.end
}

// stop ends the intake, though the stream has not ended.
func (in *intake) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.end == nil {
		in.end = shuttingDown()
		signal(in.room)
	}
}

func (in *intake) answered(r *taskv1.SubmitTaskRequest) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.unanswered, in.bytes = in.unanswered-1, in.bytes-proto.Size(r)
	signal(in.room)
}

// signal leaves a value in a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

package api

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/wake"
)

// received is a request that was read.
type received struct {
	request *taskv1.SubmitTaskRequest
	// size is in bytes.
	size int
}

func sizesOf(all []received) []int {
	sizes := make([]int, len(all))
	for i := range all {
		sizes[i] = all[i].size
	}
	return sizes
}

// intake is what was read of a stream and is not answered yet.
type intake struct {
	// all bounds what all streams have together, until it is submitted: the answers of
	// one whose client does not read keep nobody from submitting.
	all *semaphore.Weighted

	mu      sync.Mutex
	waiting []received
	// unanswered and bytes count those that wait, those that are being submitted, and
	// those whose answers wait.
	unanswered, bytes int
	// end is why nothing comes any more; nil as long as something may.
	end error

	// more has a value when there is something to take, room when there is room again.
	more, room chan struct{}
}

func newIntake(all *semaphore.Weighted) *intake {
	return &intake{all: all, more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// read takes requests in while there is room, until the stream has ended.
func (in *intake) read(ctx context.Context, receive func() (*taskv1.SubmitTasksRequest, error)) {
	for in.awaitRoom(ctx) {
		m, err := receive()
		r := received{request: m.GetRequest()}
		if r.request == nil {
			r.request = &taskv1.SubmitTaskRequest{} // which is not valid
		}
		r.size = min(proto.Size(r.request), maxIntakeBytes)
		if err == nil {
			err = in.all.Acquire(ctx, int64(r.size))
		}
		if !in.add(r, err) {
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
func (in *intake) add(r received, err error) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	defer wake.Signal(in.more)
	switch {
	case in.end != nil && err == nil:
		in.all.Release(int64(r.size))
	case in.end != nil:
	case err != nil:
		in.end = err
	default:
		in.waiting = append(in.waiting, r)
		in.unanswered, in.bytes = in.unanswered+1, in.bytes+r.size
	}
	return in.end == nil
}

// take waits for requests, and returns all that there are, or else why there will be
// none; nil for the end of the stream. When the server stops it takes no more in.
func (in *intake) take(ctx context.Context, stopping <-chan struct{}) ([]received, error) {
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

func (in *intake) takeWaiting() ([]received, error) {
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
		wake.Signal(in.room)
	}
}

// close forgets what nobody takes any more.
func (in *intake) close() {
	in.stop()
	left, _ := in.takeWaiting()
	in.submitted(left)
}

// submitted gives back what requests have of the bound of all streams.
func (in *intake) submitted(all []received) {
	for i := range all {
		in.all.Release(int64(all[i].size))
	}
}

// answered gives back what a request has of the bounds of its stream.
func (in *intake) answered(size int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.unanswered, in.bytes = in.unanswered-1, in.bytes-size
	wake.Signal(in.room)
}

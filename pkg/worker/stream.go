package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// Limits of a response stream.
const (
	maxStreamMessages = 1000
	maxStreamBytes    = 4 << 20
)

// errStreamEnded is what a handler gets that sends after it has returned.
var errStreamEnded = errors.New("the handler has returned, its response stream has ended")

// responseStream is what a server-streaming handler has sent. What could not be
// sent fails the call, whether or not the handler looks at Send's error.
type responseStream struct {
	mu       sync.Mutex
	messages int64
	bytes    int64
	last     []byte
	failed   error
	ended    bool
}

// send reports one message of the response stream, the first with the headers that the
// handler has set until then: what it sets later no server would send.
func (x *execution) send(ctx context.Context, b []byte, sent *transportStream) error {
	s := &x.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errStreamEnded
	}
	if s.failed == nil {
		s.failed = s.check(b, x.rules.maxResult)
	}
	if s.failed != nil {
		return s.failed
	}
	e := x.event(task.PhaseMessage)
	e.Key.Sequence, e.Message = s.messages+1, b
	if s.messages == 0 {
		e.Headers, _ = sent.response()
	}
	if _, err := x.w.status.Write(ctx, e); err != nil {
		s.failed = fmt.Errorf("report a message of the response stream: %w", err)
		return s.failed
	}
	s.messages, s.bytes, s.last = s.messages+1, s.bytes+int64(len(b)), b
	return nil
}

func (s *responseStream) check(b []byte, maxResult int64) error {
	switch {
	case int64(len(b)) > maxResult:
		return resultTooLarge(len(b), maxResult)
	case s.messages >= maxStreamMessages || s.bytes+int64(len(b)) > maxStreamBytes:
		return &tooLargeError{
			reason:  taskv1.ErrorReason_ERROR_REASON_STREAM_TOO_LARGE,
			message: fmt.Sprintf("the response stream is over its limit of %d messages and %d bytes; send fewer, or a reference to them", maxStreamMessages, maxStreamBytes),
			limit:   maxStreamBytes,
		}
	}
	return nil
}

// end gives the last message, which is the result, or what failed.
func (s *responseStream) end() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.failed
}

// begun says whether a message was sent.
func (s *responseStream) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages > 0
}

// close takes no more messages: they would follow the task's end.
func (s *responseStream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

func resultTooLarge(size int, limit int64) *tooLargeError {
	return &tooLargeError{
		reason: taskv1.ErrorReason_ERROR_REASON_RESULT_TOO_LARGE,
		message: fmt.Sprintf("the result has %d bytes, the limit is %d; the handler has done its work, so trying again would not help: "+
			"return a reference to large data, or raise the gateway's --max-payload-bytes", size, limit),
		limit: limit,
	}
}

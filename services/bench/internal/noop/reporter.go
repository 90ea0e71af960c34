package noop

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/warrenmq/warren/pkg/task"
)

// Words that lines begin with.
const (
	wordStarted = "started"
	wordAll     = "all"
)

// Reporter tells the benchmark what the worker has started. It may be used from
// any goroutine.
type Reporter struct {
	out io.Writer
	// keep is how many of the last ids of a batch are told.
	keep int

	mu    sync.Mutex
	batch uint32
	count uint32
	last  []string
}

// NewReporter reports to out. Of each batch it tells the ids of the tasks that
// were started last, keep of them: at least as many as may be under way at once.
func NewReporter(out io.Writer, keep int) *Reporter {
	return &Reporter{out: out, keep: keep, last: make([]string, 0, keep)}
}

// work is the method's handler.
func (r *Reporter) work(ctx context.Context, payload *wrapperspb.BytesValue) (*emptypb.Empty, error) {
	now := time.Now()
	order, err := orderOf(payload)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	info, _ := task.FromContext(ctx)
	if err := r.started(order, info.ID, now); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &emptypb.Empty{}, nil
}

func (r *Reporter) started(order Order, id string, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if order.Tasks == 0 {
		return r.tell(fmt.Sprintf("%s %s %d\n", wordStarted, id, at.UnixNano()))
	}
	if order.Batch != r.batch {
		r.batch, r.count, r.last = order.Batch, 0, r.last[:0]
	}
	r.remember(id)
	r.count++
	if r.count != order.Tasks {
		return nil
	}
	return r.tell(fmt.Sprintf("%s %d %s\n", wordAll, order.Batch, strings.Join(r.last, " ")))
}

// remember keeps the last ids, in no order.
func (r *Reporter) remember(id string) {
	if len(r.last) < r.keep {
		r.last = append(r.last, id)
		return
	}
	r.last[int(r.count)%r.keep] = id
}

func (r *Reporter) tell(line string) error {
	if _, err := io.WriteString(r.out, line); err != nil {
		return fmt.Errorf("report to the benchmark: %w", err)
	}
	return nil
}

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
	wordReached = "reached"
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
	// Of the batch: first attempts, all attempts, and last ones, which are expected
	// to succeed.
	firsts, attempts, lasts uint32
	last                    []string
}

// NewReporter reports to out. Of each batch it tells the ids of the tasks that
// were started last, keep of them: at least as many as may be under way at once.
func NewReporter(out io.Writer, keep int) *Reporter {
	return &Reporter{out: out, keep: keep, last: make([]string, 0, keep)}
}

// work is the method's handler.
func (r *Reporter) work(ctx context.Context, payload *wrapperspb.BytesValue) (*emptypb.Empty, error) {
	now := time.Now()
	order, err := OrderOf(payload)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	info, _ := task.FromContext(ctx)
	first := info.Attempt <= 1
	if err := r.started(order, info.ID, first, now); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := take(ctx, order.Take); err != nil {
		return nil, err
	}
	if order.FailFirst && first {
		return nil, task.RetryAfter(status.Error(codes.Unavailable, "the first attempt was ordered to fail"), RetryDelay)
	}
	return &emptypb.Empty{}, nil
}

// take takes time.
func take(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("take %v: %w", d, context.Cause(ctx))
	}
}

// started reports the first start of each task where each is reported, and counts
// those of a batch.
func (r *Reporter) started(order Order, id string, first bool, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if order.Tasks > 0 {
		return r.count(order, id, first, at)
	}
	if !first {
		return nil
	}
	return r.tell(fmt.Sprintf("%s %s %d\n", wordStarted, id, at.UnixNano()))
}

func (r *Reporter) count(order Order, id string, first bool, at time.Time) error {
	if order.Batch != r.batch {
		r.batch, r.firsts, r.attempts, r.lasts, r.last = order.Batch, 0, 0, 0, r.last[:0]
	}
	r.attempts++
	if first {
		r.firsts++
		if marked(r.firsts, order.Tasks) {
			if err := r.tell(fmt.Sprintf("%s %d %d %d\n", wordReached, order.Batch, r.attempts, at.UnixNano())); err != nil {
				return err
			}
		}
	}
	if order.FailFirst == first {
		return nil
	}
	r.remember(id)
	r.lasts++
	if r.lasts != order.Tasks {
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
	r.last[int(r.lasts)%r.keep] = id
}

func (r *Reporter) tell(line string) error {
	if _, err := io.WriteString(r.out, line); err != nil {
		return fmt.Errorf("report to the benchmark: %w", err)
	}
	return nil
}

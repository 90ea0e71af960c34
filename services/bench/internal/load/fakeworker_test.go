package load_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

// fakeWorker calls the benchmark's own handler, with as many slots as are needed
// and without a wait before what is tried again.
type fakeWorker struct {
	desc *grpc.ServiceDesc
	impl any

	// call calls the handler, whose context ends with stop, as stopped says.
	call    func(task.Info, proto.Message) error
	stop    func()
	stopped <-chan struct{}
	busy    sync.WaitGroup

	mu   sync.Mutex
	runs map[string]int
}

func newFakeWorker(t *testing.T, reports io.Writer) *fakeWorker {
	t.Helper()
	w := &fakeWorker{runs: map[string]int{}}
	require.NoError(t, noop.Register(w, noop.NewReporter(reports, 1)))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w.stopped = ctx.Done()
	w.call = func(info task.Info, payload proto.Message) error {
		_, err := w.desc.Methods[0].Handler(w.impl, task.NewContext(ctx, info, nil), func(v any) error {
			proto.Merge(v.(proto.Message), payload)
			return nil
		}, nil)
		return err
	}
	w.stop = func() {
		cancel()
		w.busy.Wait()
	}
	return w
}

func (w *fakeWorker) RegisterService(desc *grpc.ServiceDesc, impl any) { w.desc, w.impl = desc, impl }

// run carries a task out. One that takes time is only started.
func (w *fakeWorker) run(o order) {
	asks, err := noop.OrderOf(o.payload)
	if err != nil {
		return
	}
	if asks.Take > 0 {
		w.busy.Go(func() { w.attempts(o) })
		return
	}
	w.attempts(o)
}

func (w *fakeWorker) attempts(o order) {
	for attempt := 1; attempt <= 2; attempt++ {
		w.mu.Lock()
		w.runs[o.id]++
		w.mu.Unlock()
		if w.call(task.Info{ID: o.id, Attempt: attempt}, o.payload) == nil {
			return
		}
	}
}

// later calls f at a time, unless the worker has stopped by then.
func (w *fakeWorker) later(at time.Time, f func()) {
	w.busy.Go(func() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		select {
		case <-timer.C:
			f()
		case <-w.stopped:
		}
	})
}

// repeated is how many tasks were started more than once.
func (w *fakeWorker) repeated() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, runs := range w.runs {
		if runs > 1 {
			n++
		}
	}
	return n
}

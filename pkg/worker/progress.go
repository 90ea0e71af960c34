package worker

import (
	"context"
	"sync"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// maxProgress bounds a progress message, in bytes.
const maxProgress = 1 << 10

// progress thins what a handler reports to the latest: the next report is
// written when the one before is confirmed, or when the handler has returned.
type progress struct {
	mu       sync.Mutex
	latest   *task.ProgressReport
	sequence int64
	writing  bool
	// ended is made with the first report, and closed when the handler returns.
	ended   chan struct{}
	stopped bool
	writer  sync.WaitGroup
}

// reportProgress takes in what the handler says. It does not block.
func (x *execution) reportProgress(r task.ProgressReport) {
	p := &x.progress
	r.Time = time.Now()
	r.Message = cut(valid(r.Message), maxProgress)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	if x.heard != nil {
		x.heard(r)
	}
	p.latest = &r
	if p.ended == nil {
		p.ended = make(chan struct{})
	}
	if !p.writing {
		p.writing = true
		p.writer.Go(func() { x.writeProgress(x.base) })
	}
}

func (x *execution) writeProgress(ctx context.Context) {
	for {
		e := x.nextProgress()
		if e == nil {
			return
		}
		receipt, err := x.w.status.Write(ctx, e)
		if err != nil {
			return
		}
		select {
		case <-receipt.Done():
		case <-x.progress.ended:
		}
	}
}

// nextProgress is the event of the latest report, nil if it was written.
func (x *execution) nextProgress() *task.Event {
	p := &x.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latest == nil {
		p.writing = false
		return nil
	}
	p.sequence++
	e := x.event(task.PhaseProgress)
	e.Key.Sequence, e.Progress, p.latest = p.sequence, p.latest, nil
	return e
}

// stop takes no more reports and waits until the last one is handed over, not
// until it is confirmed: the outcome follows it in order.
func (p *progress) stop() {
	p.mu.Lock()
	p.stopped = true
	if p.ended != nil {
		close(p.ended)
	}
	p.mu.Unlock()
	p.writer.Wait()
}

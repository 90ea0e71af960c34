package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// ignoresItsEnd is how long after its timeout a handler is given to notice,
// before it is written off.
const ignoresItsEnd = 30 * time.Second

// What becomes of a handler.
const (
	undecided = iota
	hasReturned
	wasWrittenOff
)

// returned is what a handler gave back.
type returned struct {
	reply []byte
	err   error
	// cause is why its context ended, nil if it had not.
	cause error
	// headers and trailers are what it has set.
	headers, trailers task.Metadata
	// stuck: it was written off.
	stuck bool
}

// handle runs the handler in its slot, which is free once the handler has
// returned. One that ignores its timeout is written off and keeps its slot.
func (x *execution) handle(ctx context.Context) returned {
	hctx, cancel := x.handlerContext(ctx)
	defer cancel()
	// The broker delivers the task again at once; who gets it asks whether this
	// process has survived, which the handler may be slow to show.
	stopLost := context.AfterFunc(x.attached, x.sayLost)
	defer stopLost()
	x.pool.running.Add(1)
	x.pool.started.Add(1)
	ended := make(chan returned, 1)
	var fate atomic.Int32
	go func() {
		defer func() {
			x.pool.running.Add(-1)
			if !fate.CompareAndSwap(undecided, hasReturned) {
				x.w.returnedLate(x)
			}
			x.end()
		}()
		r := returned{err: errGoexit}
		sent := &transportStream{method: x.w.methods[x.taskType].fullMethod}
		defer func() {
			r.cause = context.Cause(hctx)
			r.headers, r.trailers = sent.response()
			ended <- r
		}()
		r.reply, r.err = recovered(func() ([]byte, error) { return x.call(hctx, sent) })
	}()
	writeOff := time.NewTimer(x.rules.Timeout() + x.w.patience)
	defer writeOff.Stop()
	var r returned
	select {
	case r = <-ended:
	case <-writeOff.C:
		if !fate.CompareAndSwap(undecided, wasWrittenOff) {
			r = <-ended
			break
		}
		r = returned{err: errStuck, cause: context.DeadlineExceeded, stuck: true}
		x.w.writeOff(x)
	}
	x.stream.close()
	x.progress.stop()
	return r
}

var (
	// errGoexit is what a handler leaves that ended its goroutine.
	errGoexit = errors.New("the handler ended its goroutine instead of returning")
	errStuck  = errors.New("the handler ignored the end of its context for 30 s after its timeout and was written off; it may still run")
)

// handlerContext is what the handler gets: it ends with the attempt's timeout,
// the link, the worker's grace, or the cancellation of the task.
func (x *execution) handlerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancelCause := context.WithCancelCause(ctx)
	stopLink := context.AfterFunc(x.attached, func() { cancelCause(lostCause(x.attached)) })
	stopDrain := context.AfterFunc(x.w.draining, func() { cancelCause(errDraining) })
	x.w.executions.stopBy(x, time.Now(), cancelCause)
	ctx, cancel := context.WithTimeout(ctx, x.rules.Timeout())
	ctx = task.NewContext(ctx, task.Info{
		ID: x.msg.ID, Type: x.taskType, Run: x.msg.Run, Attempt: x.delivery.Attempt(),
		Redelivered: x.maybeAgain(), Labels: x.msg.Labels,
	}, x.reportProgress)
	return ctx, func() {
		stopLink()
		stopDrain()
		cancel()
		cancelCause(nil)
	}
}

// lostCause is why deliveries can't be settled any more: when another user of
// the link failed, they are lost as well.
func lostCause(attached context.Context) error {
	if cause := context.Cause(attached); isLost(cause) {
		return cause
	}
	return broker.ErrDeliveryLost
}

func (x *execution) call(ctx context.Context, sent *transportStream) ([]byte, error) {
	m := x.w.methods[x.taskType]
	md := metadata.MD{}
	for k, vs := range x.msg.Metadata {
		for _, v := range vs {
			md.Append(k, string(v))
		}
	}
	c := &call{method: m, input: x.msg.Payload, send: func(b []byte) error { return x.send(ctx, b, sent) }, sent: sent}
	reply, err := c.run(ctx, x.w, md)
	if m.stream != nil {
		var failed error
		if reply, failed = x.stream.end(); failed != nil {
			return nil, failed
		}
	}
	if err == nil && int64(len(reply)) > x.rules.maxResult {
		return nil, resultTooLarge(len(reply), x.rules.maxResult)
	}
	return reply, err
}

// writeOff counts a handler that is stuck. With as many as are tolerated, with no
// slot left that is not, or when nothing else may run beside it, the worker drains,
// so that it can be started again.
func (w *Worker) writeOff(x *execution) {
	n := w.stuck.Add(1)
	x.pool.stuck.Add(1)
	x.log().Error("a handler goes on though its time was up: it is written off and keeps its slot",
		"timeout", x.rules.Timeout(), "stuck", n, "max_stuck", w.cfg.MaxStuck)
	switch {
	case w.cfg.MaxStuck < 0:
		x.share()
	case x.alone, int(n) >= w.cfg.MaxStuck:
		w.giveUp()
	default:
		w.checkStuck(x.pool)
	}
}

// checkStuck drains the worker when a type has no slot left that is not stuck.
func (w *Worker) checkStuck(p *pool) {
	if n := int(p.stuck.Load()); w.cfg.MaxStuck >= 0 && n > 0 && n >= p.slots.size() {
		w.giveUp()
	}
}

// returnedLate counts a handler that was written off and has returned after all.
func (w *Worker) returnedLate(x *execution) {
	w.stuck.Add(-1)
	x.pool.stuck.Add(-1)
	x.share()
	x.log().Info("a handler that was written off has returned")
}

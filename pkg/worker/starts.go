package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/wake"
)

const (
	// startTimeout is how long a worker waits for a gateway to answer whether it may
	// start a delivery.
	startTimeout = 10 * time.Second
	// maxAsked bounds the deliveries that one message asks for, maxAsking the messages
	// whose confirms are awaited at once.
	maxAsked  = 1024
	maxAsking = 4
)

// errNotAsked says that no start can have been permitted.
var errNotAsked = errors.New("no gateway was asked")

// permit asks a gateway whether a delivery may be started that may not be its
// task's only one; an error says that none answered in time, errNotAsked that none
// was asked either.
func (w *Worker) permit(ctx context.Context, r task.StartRequest) (task.StartAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, w.startTimeout)
	defer cancel()
	answer := w.starts.expect(r.RequestID)
	defer w.starts.forget(r.RequestID)
	q := &question{request: r, sent: make(chan sending, 1)}
	w.questions.add(q)
	again := time.NewTimer(w.startTimeout)
	again.Stop() // until it was asked
	defer again.Stop()
	for {
		select {
		case a := <-answer:
			return broker.StartAnswerFromProto(a)
		case s := <-q.sent:
			if s.err != nil {
				return task.StartAnswer{}, w.questions.withdraw(q, s.err)
			}
			again.Reset(s.again)
		case <-again.C:
			// By itself: a gateway of an earlier version answers nothing else.
			again.Reset(w.ask(ctx, w.startRequest(r.RequestID, q), "the start of task "+r.TaskID))
		case <-ctx.Done():
			return task.StartAnswer{}, w.questions.withdraw(q, context.Cause(ctx))
		}
	}
}

// question asks for a start.
type question struct {
	request task.StartRequest
	// asked says that gateways may know of it, withdrawn that nobody waits for the
	// answer any more. The lock is that of the questions.
	asked, withdrawn bool
	// sent has what became of it, unless it was withdrawn.
	sent chan sending
}

// sending is what became of a question: when to ask it again, or why it could not be
// asked.
type sending struct {
	again time.Duration
	err   error
}

// questions are those that wait to be asked.
type questions struct {
	mu      sync.Mutex
	waiting []*question
	news    chan struct{}
}

func newQuestions() *questions { return &questions{news: make(chan struct{}, 1)} }

func (q *questions) add(x *question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, x)
	wake.Signal(q.news)
}

// next takes those that are asked next.
func (q *questions) next() []*question {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxAsked)
	batch := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	return batch
}

// leave has those of a batch count as asked that nobody has withdrawn, and returns them.
func (q *questions) leave(batch []*question) []*question {
	q.mu.Lock()
	defer q.mu.Unlock()
	var left []*question
	for _, x := range batch {
		if !x.withdrawn {
			x.asked = true
			left = append(left, x)
		}
	}
	return left
}

// withdraw ends a question that why has left without an answer, and says whether it can
// have been heard: if not, the error is errNotAsked.
func (q *questions) withdraw(x *question, why error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	x.withdrawn = true
	q.waiting = slices.DeleteFunc(q.waiting, func(other *question) bool { return other == x })
	if !x.asked {
		return fmt.Errorf("%w: have earlier events confirmed: %w", errNotAsked, why)
	}
	return fmt.Errorf("no gateway has answered: %w", why)
}

// askStarts asks for starts until ctx ends: what comes in while some are about to be asked
// for goes together.
func (w *Worker) askStarts(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	slots := make(chan struct{}, maxAsking)
	for ctx.Err() == nil {
		batch := w.questions.next()
		if len(batch) == 0 {
			select {
			case <-w.questions.news:
			case <-ctx.Done():
			}
			continue
		}
		id, err := w.settleBefore(ctx, batch)
		if err != nil {
			tell(batch, sending{err: err})
			continue
		}
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			w.askFor(ctx, id, batch)
		})
	}
}

func tell(batch []*question, s sending) {
	for _, q := range batch {
		q.sent <- s
	}
}

// settleBefore has all confirmed that this worker had to say before it asks: an outcome
// whose settlement was lost would else be unknown to who decides. It returns the id of the
// message that asks.
func (w *Worker) settleBefore(ctx context.Context, batch []*question) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.startTimeout)
	defer cancel()
	id = batch[0].request.RequestID
	if len(batch) > 1 {
		id = task.NewID()
	}
	receipt, err := w.status.Mark(ctx, id)
	if err == nil {
		err = receipt.Wait(ctx)
	}
	return id, err
}

// askFor asks for starts that were not withdrawn before.
func (w *Worker) askFor(ctx context.Context, id string, batch []*question) {
	ctx, cancel := context.WithTimeout(ctx, w.startTimeout)
	defer cancel()
	if batch = w.questions.leave(batch); len(batch) > 0 {
		tell(batch, sending{again: w.ask(ctx, w.startRequest(id, batch...), fmt.Sprintf("the starts of %d tasks", len(batch)))})
	}
}

// startRequest is the message that asks for starts.
func (w *Worker) startRequest(id string, batch ...*question) *brokerv1.WorkerRequest {
	requests := make([]*brokerv1.StartRequest, len(batch))
	for i, q := range batch {
		requests[i] = broker.StartRequestToProto(q.request)
	}
	m := &brokerv1.WorkerRequest{Worker: w.identity, RequestId: id}
	if len(requests) == 1 {
		m.Request = &brokerv1.WorkerRequest_Start{Start: requests[0]}
	} else {
		m.Request = &brokerv1.WorkerRequest_Starts{Starts: &brokerv1.StartRequests{Requests: requests}}
	}
	return m
}

package broker

import (
	"context"
	"sync"
)

// Check is asked right before a message is sent: its error has it not sent. It must
// not block; nil is always.
type Check func() error

// PublishTask puts a task into its queue. Errors: [ErrUnroutable] if its type
// has none, [ErrNotSent], [ErrUnknown].
func (p *Publisher) PublishTask(ctx context.Context, m *TaskMessage) error {
	return p.publishTask(ctx, m, nil)
}

func (p *Publisher) publishTask(ctx context.Context, m *TaskMessage, check Check) error {
	out, err := p.startTask(ctx, m, check)
	if err != nil {
		return err
	}
	return out.await(ctx)
}

// PublishTasks puts tasks into their queues, those of one type in their order, with
// one round of confirms. outcome is told of each as soon as it is known: its
// position and its error, as of PublishTask. It is called by several goroutines,
// all of which have ended when PublishTasks returns. The checks are those of the
// tasks by their position; those that are left out are nil.
func (p *Publisher) PublishTasks(ctx context.Context, ms []*TaskMessage, outcome func(i int, err error), checks ...Check) {
	of := make([]Check, len(ms))
	copy(of, checks)
	if len(ms) == 1 {
		outcome(0, p.publishTask(ctx, ms[0], of[0]))
		return
	}
	byType := map[string][]int{}
	for i, m := range ms {
		byType[m.Type] = append(byType[m.Type], i)
	}
	var wg sync.WaitGroup
	for _, positions := range byType {
		// A queue that has no room makes those of other types wait for nothing.
		wg.Go(func() {
			for _, i := range positions {
				out, err := p.startTask(ctx, ms[i], of[i])
				if err != nil {
					outcome(i, err)
					continue
				}
				// What is confirmed makes room for what follows.
				wg.Go(func() { outcome(i, out.await(ctx)) })
			}
		})
	}
	wg.Wait()
}

// startTask hands a task to the sender.
func (p *Publisher) startTask(ctx context.Context, m *TaskMessage, check Check) (*outgoing, error) {
	msg, err := m.publishing()
	if err != nil {
		return nil, err
	}
	out := newOutgoing(p.names.Tasks(), m.Type, true, msg)
	out.check = check
	return out, p.enqueue(ctx, out)
}

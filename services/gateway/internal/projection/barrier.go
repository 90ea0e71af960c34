package projection

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/broker"
)

const (
	// maxBehind is how long a read waits for the projection to catch up.
	maxBehind = 2 * time.Second
	// maxWait is the longest that anybody may wait for it. As long the passing of
	// a marker is of interest.
	maxWait = 10 * time.Second
	// maxSend is how long the next marker waits for this one to be confirmed.
	maxSend = 2 * time.Second
)

// ErrBehind says that the projection has not caught up in time.
var ErrBehind = errors.New("the store has not caught up with the status queue")

// Marks puts markers into the status queue.
type Marks interface {
	Mark(ctx context.Context, marker string) (*broker.Receipt, error)
}

// barrier tells readers when everything that was in the status queue before
// they asked is applied. One marker serves all who ask before it is sent.
type barrier struct {
	marks Marks

	mu sync.Mutex
	// next is the round that who asks now joins; nil if none waits to be sent.
	next *round
	// sending says that a marker is on its way into the queue.
	sending bool
	sent    map[string]*round
}

type round struct {
	passed chan struct{}
}

func newBarrier(m Marks) barrier { return barrier{marks: m, sent: map[string]*round{}} }

// CatchUp waits until everything that was confirmed in the status queue before
// the call is in the store. It answers ErrBehind after 2 s.
func (p *Projection) CatchUp(ctx context.Context) error { return p.CatchUpWithin(ctx, maxBehind) }

// CatchUpWithin is CatchUp with another bound than 2 s, of up to 10 s.
func (p *Projection) CatchUpWithin(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, min(d, maxWait), ErrBehind)
	defer cancel()
	r := p.barrier.join()
	select {
	case <-r.passed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the projection: %w", context.Cause(ctx))
	}
}

// join gives the next round, which is sent once the one before it is on its way.
func (b *barrier) join() *round {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = &round{passed: make(chan struct{})}
	}
	r := b.next
	if !b.sending {
		b.sending = true
		go b.send()
	}
	return r
}

// send sends rounds while somebody waits for one. Each holds up the next for at
// most maxSend. It may be passed long after, as long as somebody can be waiting.
func (b *barrier) send() {
	for {
		b.mu.Lock()
		r := b.next
		if b.next = nil; r == nil {
			b.sending = false
			b.mu.Unlock()
			return
		}
		marker := uuid.NewString()
		b.sent[marker] = r
		b.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), maxSend)
		if receipt, err := b.marks.Mark(ctx, marker); err == nil {
			// Whether it is confirmed in time is for those who wait to see.
			_ = receipt.Wait(ctx)
		}
		cancel()
		time.AfterFunc(maxWait, func() { b.forget(marker) })
	}
}

func (b *barrier) forget(marker string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sent, marker)
}

// pass ends the rounds of markers that the projection has passed.
func (b *barrier) pass(markers []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range markers {
		if r := b.sent[m]; r != nil {
			close(r.passed)
			delete(b.sent, m)
		}
	}
}

package load

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/warrenmq/warren/services/bench/internal/noop"
)

// Calls calls the worker's method n times through the gateway, by [Callers] callers
// that each wait for their answer, and says how long that took. An answer is the
// task's outcome, read from the store.
func (l *Load) Calls(ctx context.Context, n int) (time.Duration, error) {
	order := l.next(n)
	begin := time.Now()
	err := byCallers(ctx, n, func(ctx context.Context, caller int) error {
		_, err := call(ctx, l.Conns[caller%len(l.Conns)], order)
		return err
	})
	return time.Since(begin), err
}

// CallLatency is how long calls took that were made one shortly after the other, each
// until its answer.
type CallLatency struct {
	// Durable is one through the gateway, and Direct one of a server that calls the
	// same handler.
	Durable, Direct time.Duration
}

// CallLatencies makes [Rate] durable calls per second for a time, and as many direct
// ones in between.
func (l *Load) CallLatencies(ctx context.Context, during time.Duration) ([]CallLatency, error) {
	found := make([]CallLatency, max(int(during.Seconds()*Rate), 1))
	order := l.next(len(found))
	err := paced(ctx, 2*len(found), time.Second/Rate/2, func(ctx context.Context, i int) (err error) {
		pair := i / 2
		took, conn := &found[pair].Durable, l.Conns[pair%len(l.Conns)]
		if i%2 == 1 {
			took, conn = &found[pair].Direct, l.Direct
		}
		*took, err = call(ctx, conn, order)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// call calls the method once, with a deadline as callers have one, and says how long
// that took.
func call(ctx context.Context, conn grpc.ClientConnInterface, order noop.Order) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	begin := time.Now()
	if err := noop.Call(ctx, conn, order); err != nil {
		return 0, fmt.Errorf("call the method: %w", err)
	}
	return time.Since(begin), nil
}

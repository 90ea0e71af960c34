//go:build unix

package broker_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
)

// openLink is a link that a test holds, and the context that ends with it.
type openLink struct {
	*broker.Link
	done  <-chan struct{}
	cause func() error
}

// links runs links until the test ends and hands out each that is opened.
func links(t testing.TB, cfg broker.Config) (next func() openLink) {
	t.Helper()
	opened := make(chan openLink)
	run(t, func(ctx context.Context) {
		broker.RunLinks(ctx, cfg, func(ctx context.Context, l *broker.Link, up func()) error {
			up()
			select {
			case opened <- openLink{l, ctx.Done(), func() error { return context.Cause(ctx) }}:
				<-ctx.Done()
			case <-ctx.Done():
			}
			return context.Cause(ctx)
		})
	})
	return func() openLink {
		t.Helper()
		return requireNext(t, opened, "a link")
	}
}

// attach takes so many tasks of taskType from the link.
func attach(t testing.TB, l openLink, credit int) *broker.Receiver {
	t.Helper()
	r, err := l.Work(bounded(t), taskType)
	require.NoError(t, err)
	require.NoError(t, r.Credit(credit))
	return r
}

// receive takes the receiver's next delivery.
func receive(t testing.TB, r *broker.Receiver) *broker.WorkDelivery {
	t.Helper()
	d, err := r.Receive(bounded(t))
	require.NoError(t, err)
	return d
}

// receiveTask takes one task of taskType from the link.
func receiveTask(t testing.TB, l openLink) *broker.WorkDelivery {
	t.Helper()
	return receive(t, attach(t, l, 1))
}

package target

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// Departure says whether a call may have reached a server.
type Departure struct{ left atomic.Bool }

// Left says that the call's headers were given to a connection. If not, no server
// has seen the call. It is final once the call has ended.
func (d *Departure) Left() bool { return d.left.Load() }

type departureKey struct{}

// Track has the call that is made with the context, on a [Target], noted.
func Track(ctx context.Context) (context.Context, *Departure) {
	d := &Departure{}
	return context.WithValue(ctx, departureKey{}, d), d
}

// departures notes what leaves, and each connection.
type departures struct{ connected func() }

// TagRPC implements [stats.Handler].
func (*departures) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements [stats.Handler]. gRPC begins a call anew by itself only
// if the server has not processed it, so what counts is the last beginning.
func (*departures) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.Begin:
		note(ctx, false)
	case *stats.OutHeader:
		note(ctx, true)
	}
}

func note(ctx context.Context, left bool) {
	if d, ok := ctx.Value(departureKey{}).(*Departure); ok {
		d.left.Store(left)
	}
}

// TagConn implements [stats.Handler].
func (*departures) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (d *departures) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		d.connected()
	}
}

package client

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/warrenmq/warren/pkg/callmeta"
)

// observer tells of the task's id as soon as a header with it arrives.
type observer struct {
	early []func(taskID string)

	mu sync.Mutex
	// over says that all has been told, or that nobody listens any more.
	over bool
}

type observerKey struct{}

// observed is the context of a call whose header is looked at as it arrives.
func (c *durableCall) observed(ctx context.Context) context.Context {
	if c.observer == nil || len(c.early) == 0 {
		return ctx
	}
	return context.WithValue(ctx, observerKey{}, c.observer)
}

// see is for the header of a call. When it returns, those who want to know early have
// been told.
func (o *observer) see(header metadata.MD) {
	id := taskIDOf(header)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over || id == "" {
		return
	}
	o.over = true
	for _, f := range o.early {
		f(id)
	}
}

// leave has nobody told any more when it returns.
func (o *observer) leave() {
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.over = true
	}
}

// seen is for the header of a call that its caller waits for no more.
func (c *durableCall) seen(header metadata.MD) {
	id := taskIDOf(header)
	if c.observer == nil || id == "" {
		return
	}
	c.observer.see(header)
	for _, f := range c.tell {
		f(id)
	}
}

// taskIDOf is empty for a header without the id.
func taskIDOf(header metadata.MD) string {
	if ids := header.Get(callmeta.KeyTaskID); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// headerWatch is a stats handler that shows headers to the observers of their calls.
type headerWatch struct{}

// TagRPC implements stats.Handler.
func (headerWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (headerWatch) HandleRPC(ctx context.Context, s stats.RPCStats) {
	in, ok := s.(*stats.InHeader)
	if !ok {
		return
	}
	if o, ok := ctx.Value(observerKey{}).(*observer); ok {
		o.see(in.Header)
	}
}

// TagConn implements stats.Handler.
func (headerWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (headerWatch) HandleConn(context.Context, stats.ConnStats) {}

// wrap has the task's id taken from a stream's header.
func (c *durableCall) wrap(stream grpc.ClientStream) grpc.ClientStream {
	if c.observer == nil {
		return stream
	}
	return &observedStream{ClientStream: stream, call: c}
}

// observedStream is a stream whose caller wants to know the task's id.
type observedStream struct {
	grpc.ClientStream

	call *durableCall
	once sync.Once
}

// Header implements grpc.ClientStream.
func (s *observedStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if taskIDOf(header) != "" {
		s.once.Do(func() { s.call.seen(header) })
	}
	return header, err
}

// RecvMsg implements grpc.ClientStream.
func (s *observedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.once.Do(func() {
		// It is there by now, if ever.
		if header, headerErr := s.ClientStream.Header(); headerErr == nil {
			s.call.seen(header)
		}
	})
	return err
}

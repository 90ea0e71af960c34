package client

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Client is a connection to Warren's gateways. It is a grpc.ClientConnInterface, so
// that generated stubs work on it as they do on a *grpc.ClientConn, with the
// call options of this package besides. It is safe for concurrent use.
type Client struct {
	conn  grpc.ClientConnInterface
	tasks taskv1.TaskServiceClient
	close func() error
	// defaults are the options of every durable call.
	defaults []grpc.CallOption
}

// FromConn makes a client of a connection that the caller owns: [Client.Close] does
// not close it. It has none of what [New] adds; give it [ServiceConfig].
func FromConn(conn grpc.ClientConnInterface) *Client {
	return &Client{conn: conn, tasks: taskv1.NewTaskServiceClient(conn), close: func() error { return nil }}
}

// With is the same client, each of whose durable calls and submissions has these
// options before its own. Closing one closes both.
func (c *Client) With(opts ...grpc.CallOption) *Client {
	with := *c
	with.defaults = slices.Concat(c.defaults, opts)
	return &with
}

// Close closes the connection that [New] made. Calls under way end CANCELLED, their
// tasks go on.
func (c *Client) Close() error { return c.close() }

// Invoke implements grpc.ClientConnInterface: it is what stubs call.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	call, opts, err := c.prepare(method, opts)
	if err != nil {
		return err
	}
	switch {
	case !call.durable:
		return c.conn.Invoke(ctx, method, args, reply, opts...)
	case call.submit != nil:
		return call.submit(c, method, args, opts)
	}
	return c.invoke(ctx, method, args, reply, call, opts)
}

// NewStream implements grpc.ClientConnInterface: it is what stubs call.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	call, opts, err := c.prepare(method, opts)
	if err != nil {
		return nil, err
	}
	switch {
	case !call.durable:
		return c.conn.NewStream(ctx, desc, method, opts...)
	case call.submit != nil && desc.ClientStreams:
		return nil, status.Errorf(codes.Unimplemented, "%s has a stream of requests, and is no task type for that", method)
	case call.submit != nil:
		return &submittingStream{client: c, submit: call.submit, method: method, opts: opts}, nil
	}
	stream, err := c.conn.NewStream(call.observed(call.outgoing(ctx)), desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return call.wrap(stream), nil
}

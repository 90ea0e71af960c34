package forward

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/warrenmq/warren/pkg/frame"
)

func (f *Forwarder) stream(method string) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		in := &frame.Frame{}
		if err := ss.RecvMsg(in); err != nil {
			return err
		}
		return f.relay(method, in, ss)
	}
}

// relay calls a server-streaming method and passes on each message as it comes.
func (f *Forwarder) relay(method string, in *frame.Frame, ss grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	outgoing, departure := f.outgoing(ctx)
	cs, err := f.Target.NewStream(outgoing, &grpc.StreamDesc{ServerStreams: true}, method, options()...)
	if err != nil {
		return f.outcome(ctx, departure, err)
	}
	var unsent *unsentError
	switch err = f.copyStream(ctx, in, cs, ss); {
	case errors.As(err, &unsent):
		return unsent.err
	case err != nil:
		return f.outcome(ctx, departure, err)
	}
	return nil
}

// unsentError is what keeps a message from being passed on: not the call's error
// but the worker's.
type unsentError struct{ err error }

// Error implements error.
func (e *unsentError) Error() string { return fmt.Sprintf("pass on a message: %v", e.err) }

// copyStream passes on all that comes. Its errors are the call's, or an
// unsentError.
func (f *Forwarder) copyStream(ctx context.Context, in *frame.Frame, cs grpc.ClientStream, ss grpc.ServerStream) error {
	if err := cs.SendMsg(in); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := cs.CloseSend(); err != nil {
		return err
	}
	header, err := cs.Header()
	if err != nil {
		return err
	}
	f.giveBack(ctx, "header", header, ss.SetHeader)
	for {
		message := &frame.Frame{}
		if err := cs.RecvMsg(message); err != nil {
			f.giveBack(ctx, "trailer", cs.Trailer(), func(md metadata.MD) error { ss.SetTrailer(md); return nil })
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := ss.SendMsg(message); err != nil {
			return &unsentError{err}
		}
	}
}

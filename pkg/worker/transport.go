package worker

import (
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/task"
)

// transportStream keeps the headers and trailers that a handler sets, by the rules
// of a server.
type transportStream struct {
	method string

	mu   sync.Mutex
	sent bool
	// What was set is never changed, it is joined into something new.
	headers, trailers metadata.MD
}

// Method implements grpc.ServerTransportStream.
func (t *transportStream) Method() string { return t.method }

// SetHeader implements grpc.ServerTransportStream.
func (t *transportStream) SetHeader(md metadata.MD) error { return t.header(md, false) }

// SendHeader implements grpc.ServerTransportStream.
func (t *transportStream) SendHeader(md metadata.MD) error { return t.header(md, true) }

func (t *transportStream) header(md metadata.MD, send bool) error {
	if err := sendable(md); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sent {
		return errHeadersSent
	}
	t.sent = send
	t.headers = join(t.headers, md)
	return nil
}

// SetTrailer implements grpc.ServerTransportStream.
func (t *transportStream) SetTrailer(md metadata.MD) error {
	if err := sendable(md); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trailers = join(t.trailers, md)
	return nil
}

// sendFirst sends the headers with the first message, as a server does.
func (t *transportStream) sendFirst() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = true
}

// response is what of the headers and trailers comes back with the task.
func (t *transportStream) response() (headers, trailers task.Metadata) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return responseMetadata(t.headers), responseMetadata(t.trailers)
}

func responseMetadata(md metadata.MD) task.Metadata {
	return task.Travelling(md).Cut(task.MaxResponseMetadata)
}

func join(old, md metadata.MD) metadata.MD {
	if md.Len() == 0 {
		return old
	}
	return metadata.Join(old, md)
}

var errHeadersSent = status.Error(codes.Internal, "the headers have been sent already")

// sendable refuses what gRPC can't send (gRPC over HTTP2, "Custom-Metadata"): who
// gets it from here would fail with it.
func sendable(md metadata.MD) error {
	for key, values := range md {
		if key == "" || strings.ContainsFunc(key, notOfAKey) {
			return status.Errorf(codes.Internal, "the metadata key %q has characters that are not in [0-9a-z-_.]", key)
		}
		if strings.HasSuffix(key, "-bin") {
			continue
		}
		for _, v := range values {
			if strings.ContainsFunc(v, notPrintable) {
				return status.Errorf(codes.Internal, "the metadata of key %q has characters that are not printable ASCII; bytes need a key that ends in -bin", key)
			}
		}
	}
	return nil
}

func notOfAKey(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

func notPrintable(r rune) bool { return r < ' ' || r > '~' }

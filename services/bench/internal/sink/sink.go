// Package sink takes in spans over OTLP and counts them.
package sink

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// Sink is an OTLP receiver on this machine that keeps nothing but their number.
type Sink struct {
	collector.UnimplementedTraceServiceServer
	// URL is where it listens, as OTEL_EXPORTER_OTLP_ENDPOINT has it.
	URL string

	spans  atomic.Int64
	server *grpc.Server
	served chan error
}

// Listen makes a sink that takes in spans over gRPC until it is closed.
func Listen(ctx context.Context) (*Sink, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for spans: %w", err)
	}
	s := &Sink{URL: "http://" + l.Addr().String(), server: grpc.NewServer(), served: make(chan error, 1)}
	collector.RegisterTraceServiceServer(s.server, s)
	go func() { s.served <- s.server.Serve(l) }()
	return s, nil
}

// Spans is how many have come in. It may be called at any time.
func (s *Sink) Spans() int64 { return s.spans.Load() }

// Close ends the sink. Call it once.
func (s *Sink) Close() error {
	s.server.Stop()
	if err := <-s.served; err != nil {
		return fmt.Errorf("take in spans: %w", err)
	}
	return nil
}

// Export implements the collector.
func (s *Sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	for _, resource := range r.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.spans.Add(int64(len(scope.Spans)))
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

package telemetry

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// ServerHandler traces the calls of a gRPC server. When traces are off it only takes
// over the trace that a call belongs to, so that it goes on in what the call does.
// It measures nothing: a server of pkg/rpc does that for less. Call it after [Start].
func ServerHandler(options ...otelgrpc.Option) stats.Handler {
	if _, off := otel.GetTracerProvider().(noop.TracerProvider); off {
		return passOn{}
	}
	return otelgrpc.NewServerHandler(append(options, otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()))...)
}

// passOn puts the trace context of incoming calls into theirs.
type passOn struct{}

// TagRPC implements [stats.Handler].
func (passOn) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	carrier := propagation.MapCarrier{}
	for _, key := range [...]string{"traceparent", "tracestate"} {
		if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
			carrier[key] = values[0]
		} else if key == "traceparent" {
			return ctx
		}
	}
	return propagator.Extract(ctx, carrier)
}

// HandleRPC implements [stats.Handler].
func (passOn) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements [stats.Handler].
func (passOn) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (passOn) HandleConn(context.Context, stats.ConnStats) {}

package telemetry

import (
	"context"
	"maps"
	"slices"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
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

// ClientHandler traces the calls of a gRPC client. When traces are off it only has calls
// carry on the trace that their context belongs to. It measures nothing. Call it after
// [Start].
func ClientHandler(options ...otelgrpc.Option) stats.Handler {
	if _, off := otel.GetTracerProvider().(noop.TracerProvider); off {
		return carryOn{}
	}
	return otelgrpc.NewClientHandler(append(options, otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()))...)
}

// The headers of trace context.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// passOn puts the trace context of incoming calls into theirs.
type passOn struct{ unmeasured }

// TagRPC implements [stats.Handler].
func (passOn) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	carrier := propagation.MapCarrier{}
	for _, key := range [...]string{traceParent, traceState} {
		if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
			carrier[key] = values[0]
		} else if key == traceParent {
			return ctx
		}
	}
	return propagator.Extract(ctx, carrier)
}

// carryOn puts the trace context of outgoing calls into their metadata.
type carryOn struct{ unmeasured }

// TagRPC implements [stats.Handler]. What the metadata has of another trace gives way.
func (carryOn) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = make(metadata.MD, 2)
	}
	delete(md, traceState)
	propagator.Inject(ctx, outgoing(md))
	return metadata.NewOutgoingContext(ctx, md)
}

// outgoing implements [propagation.TextMapCarrier]. Its keys are in lower case.
type outgoing metadata.MD

// Get implements [propagation.TextMapCarrier].
func (o outgoing) Get(key string) string {
	if values := o[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set implements [propagation.TextMapCarrier].
func (o outgoing) Set(key, value string) { o[key] = []string{value} }

// Keys implements [propagation.TextMapCarrier].
func (o outgoing) Keys() []string { return slices.Collect(maps.Keys(o)) }

// unmeasured takes no notice of what happens to calls and connections.
type unmeasured struct{}

// HandleRPC implements [stats.Handler].
func (unmeasured) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements [stats.Handler].
func (unmeasured) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (unmeasured) HandleConn(context.Context, stats.ConnStats) {}

package rpc

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// scope is whose measurements these are.
const scope = "github.com/warrenmq/warren/pkg/rpc"

// otherMethod stands for all methods that are not known, whose names are the
// callers'.
const otherMethod = "_OTHER"

// metrics measure a server's calls: how many, how long, with which outcome. It is a
// stats handler, so that calls which end before an interceptor count as well, and
// has its attributes ready, which otelgrpc makes anew for each call.
//
// https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/
type metrics struct {
	duration metric.Float64Histogram
	methods  *methods
	other    *series

	mu sync.RWMutex
	// known are the methods that were called, by their full names.
	known map[string]*series
}

// measure has a server measured, unless nobody gets that.
func measure(provider metric.MeterProvider, m *methods) (grpc.ServerOption, error) {
	measuring, err := newMetrics(provider, m)
	switch {
	case err != nil:
		return nil, fmt.Errorf("measure calls: %w", err)
	case !measuring.duration.Enabled(context.Background()):
		return grpc.EmptyServerOption{}, nil
	}
	return grpc.StatsHandler(measuring), nil
}

func newMetrics(provider metric.MeterProvider, m *methods) (*metrics, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	standard := rpcconv.ServerCallDuration{}
	duration, err := provider.Meter(scope).Float64Histogram(standard.Name(),
		metric.WithDescription(standard.Description()), metric.WithUnit(standard.Unit()), metric.WithExplicitBucketBoundaries(telemetry.SecondsBuckets...))
	if err != nil {
		return nil, err
	}
	return &metrics{duration: duration, methods: m, other: &series{method: otherMethod}, known: map[string]*series{}}, nil
}

// methodKey finds the series of a call in its context.
type methodKey struct{}

// TagRPC implements [stats.Handler].
func (m *metrics) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if s := m.series(info.FullMethodName); s != nil {
		return context.WithValue(ctx, methodKey{}, s)
	}
	return ctx
}

// HandleRPC implements [stats.Handler].
func (m *metrics) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ok := event.(*stats.End)
	if !ok {
		return
	}
	if s, ok := ctx.Value(methodKey{}).(*series); ok {
		m.duration.Record(ctx, end.EndTime.Sub(end.BeginTime).Seconds(), s.options(status.Code(end.Error))...)
	}
}

// TagConn implements [stats.Handler].
func (m *metrics) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (m *metrics) HandleConn(context.Context, stats.ConnStats) {}

// series are those of a method, nil if it is not measured.
func (m *metrics) series(fullMethod string) *series {
	m.mu.RLock()
	s := m.known[fullMethod]
	m.mu.RUnlock()
	switch {
	case s != nil:
		return s
	case isPlumbing(serviceOf(fullMethod)):
		return nil
	case !m.methods.known(fullMethod):
		return m.other
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s = m.known[fullMethod]; s == nil {
		s = &series{method: fullMethod[1:]} // as the conventions spell it
		m.known[fullMethod] = s
	}
	return s
}

// codeCount is how many codes gRPC has; what a caller gets may have another.
const codeCount = codes.Unauthenticated + 1

// series are those of one method, one for each code.
type series struct {
	method string
	// byCode are made when they are needed.
	byCode [codeCount]atomic.Pointer[[]metric.RecordOption]
}

func (s *series) options(c codes.Code) []metric.RecordOption {
	if c >= codeCount {
		c = codes.Unknown
	}
	if ready := s.byCode[c].Load(); ready != nil {
		return *ready
	}
	made := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(
		semconv.RPCSystemNameGRPC, semconv.RPCMethod(s.method), semconv.RPCResponseStatusCode(code.Code(c).String()),
	))}
	s.byCode[c].Store(&made)
	return made
}

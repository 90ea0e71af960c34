package rpc

import (
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Metrics is what measures the calls of a server without services, which knows some
// methods besides.
func Metrics(provider metric.MeterProvider, known func(string) bool) stats.Handler {
	m, err := newMetrics(provider, newMethods(func() *grpc.Server { return grpc.NewServer() }, known))
	if err != nil {
		panic(err)
	}
	return m
}

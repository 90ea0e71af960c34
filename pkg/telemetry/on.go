package telemetry

import (
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// On says whether [Start] has turned traces and metrics on in this process.
func On() (traces, metrics bool) {
	_, traces = otel.GetTracerProvider().(*sdktrace.TracerProvider)
	_, metrics = otel.GetMeterProvider().(*sdkmetric.MeterProvider)
	return traces, metrics
}

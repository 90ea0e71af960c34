package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// startMetrics sets otel's meter provider, which exports once a minute or as
// OTEL_METRIC_EXPORT_INTERVAL says; what it gives exports once more and stops
// it.
func startMetrics(ctx context.Context, over protocol, res *resource.Resource) (func(context.Context) error, error) {
	if over == off {
		otel.SetMeterProvider(noop.NewMeterProvider())
		return stopNothing, nil
	}
	var exporter sdkmetric.Exporter
	var err error
	if over == overGRPC {
		exporter, err = otlpmetricgrpc.New(ctx)
	} else {
		exporter, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("set up the OTLP exporter of metrics: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)), sdkmetric.WithResource(res))
	otel.SetMeterProvider(provider)
	return func(ctx context.Context) error {
		if err := provider.Shutdown(ctx); err != nil {
			return fmt.Errorf("export the last metrics: %w", err)
		}
		return nil
	}, nil
}

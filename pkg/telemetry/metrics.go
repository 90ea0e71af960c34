package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// MaxSeries bounds the attribute sets of each instrument: a thousand task types have room
// with ten states, outcomes or causes each. What comes after them is counted together,
// with the attribute otel.metric.overflow.
const MaxSeries = 10_000

// startMetrics sets otel's meter provider, which exports over OTLP once a minute or
// as OTEL_METRIC_EXPORT_INTERVAL says, and to the scrape when that is asked; what it
// gives exports once more and stops it.
func startMetrics(ctx context.Context, over protocol, scrape *Scrape, version string, res *resource.Resource) (func(context.Context) error, error) {
	if over == off && scrape == nil {
		otel.SetMeterProvider(noop.NewMeterProvider())
		return stopNothing, nil
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithCardinalityLimit(MaxSeries)}
	if scrape != nil {
		reader, err := scrape.start()
		if err != nil {
			return nil, err
		}
		options = append(options, sdkmetric.WithReader(reader))
	}
	if over != off {
		exporter, err := newMetricExporter(ctx, over)
		if err != nil {
			return nil, fmt.Errorf("set up the OTLP exporter of metrics: %w", err)
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	stop := func(ctx context.Context) error {
		if err := provider.Shutdown(ctx); err != nil {
			return fmt.Errorf("export the last metrics: %w", err)
		}
		return nil
	}
	if err := measureProcess(provider, version); err != nil {
		_ = stop(ctx) // it has measured nothing
		return nil, err
	}
	otel.SetMeterProvider(provider)
	return stop, nil
}

func newMetricExporter(ctx context.Context, over protocol) (sdkmetric.Exporter, error) {
	if over == overGRPC {
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

// measureProcess has what every process tells of itself: its build and Go's runtime.
func measureProcess(provider *sdkmetric.MeterProvider, version string) error {
	if err := measureBuild(provider, version); err != nil {
		return err
	}
	if err := runtime.Start(runtime.WithMeterProvider(provider)); err != nil {
		return fmt.Errorf("measure Go's runtime: %w", err)
	}
	return nil
}

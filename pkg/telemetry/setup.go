// Package telemetry sets up logs, traces and metrics, and carries trace context
// through message headers.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Option adds to what [Start] sets up.
type Option func(*options)

type options struct {
	// scrape is nil if nobody scrapes.
	scrape *Scrape
}

// Start sets up tracing and metrics for a process, as the standard OTEL_
// variables say: traces are exported over OTLP when OTEL_TRACES_EXPORTER is
// `otlp` or an OTLP endpoint is given, metrics likewise by
// OTEL_METRICS_EXPORTER, and neither by default; [WithScrape] offers metrics to
// Prometheus. OTEL_SDK_DISABLED=true turns all off. Trace context is passed on
// either way. What goes wrong later is logged as [LogErrors] does, by slog's
// default logger. The answer flushes and stops both.
//
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
func Start(ctx context.Context, service, version string, log *slog.Logger, with ...Option) (func(context.Context) error, error) {
	var o options
	for _, option := range with {
		option(&o)
	}
	if !scrapeFromEnv() {
		o.scrape = nil
	}
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	traces, err := protocolFromEnv(signalTraces)
	if err != nil {
		return nil, err
	}
	metrics, err := protocolFromEnv(signalMetrics)
	if err != nil {
		return nil, err
	}
	var res *resource.Resource
	if traces != off || metrics != off || o.scrape != nil {
		LogErrors(log)
		if res, err = describe(ctx, service, version); err != nil {
			return nil, err
		}
	}
	stopTraces, err := startTraces(ctx, traces, res)
	if err != nil {
		return nil, err
	}
	stopMetrics, err := startMetrics(ctx, metrics, o.scrape, version, res)
	if err != nil {
		return nil, errors.Join(err, stopTraces(ctx))
	}
	return together(stopTraces, stopMetrics), nil
}

// describe is the resource that traces and metrics are of.
func describe(ctx context.Context, service, version string) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version)),
		resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv(), resource.WithTelemetrySDK(),
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("describe this process for telemetry: %w", err)
	}
	return res, nil
}

// together calls all at once: a receiver that hangs takes no time from another.
func together(stops ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		errs := make([]error, len(stops))
		var all sync.WaitGroup
		for i, stop := range stops {
			all.Go(func() { errs[i] = stop(ctx) })
		}
		all.Wait()
		return errors.Join(errs...)
	}
}

// stopNothing stops what is off.
func stopNothing(context.Context) error { return nil }

// flushTimeout bounds the export of the last spans and metrics when a process
// ends.
const flushTimeout = 5 * time.Second

// Flush calls what [Start] gave.
func Flush(flush func(context.Context) error, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := flush(ctx); err != nil {
		log.Warn("the last telemetry was not exported", "error", err)
	}
}

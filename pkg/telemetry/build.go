package telemetry

import (
	"context"
	"fmt"
	"runtime"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// goVersionKey is the compiler's version, such as go1.26.8.
const goVersionKey = attribute.Key("go.version")

// scope is whose measurements these are.
const scope = "github.com/warrenmq/warren/pkg/telemetry"

// measureBuild says in a metric, always 1, which build the process is.
func measureBuild(provider metric.MeterProvider, version string) error {
	attributes := metric.WithAttributeSet(attribute.NewSet(semconv.ServiceVersion(version), goVersionKey.String(runtime.Version())))
	_, err := provider.Meter(scope).Int64ObservableGauge("warren.build.info",
		metric.WithDescription("The build of this process; always 1."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(1, attributes)
			return nil
		}))
	if err != nil {
		return fmt.Errorf("measure the build: %w", err)
	}
	return nil
}

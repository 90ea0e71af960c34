package sqldb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// sizePeriod is how often the size of a store is looked at, while somebody reads it.
const sizePeriod = 15 * time.Second

// Metrics measure what is asked of one store, and its size.
type Metrics struct {
	duration metric.Float64Histogram
	labels   *telemetry.Labels[operationKey]
	problem  func(error) string
	size     *telemetry.Sampler[int64]
	observe  func() (stop func())
}

type operationKey struct{ operation, problem string }

// NewMetrics measures the store at a URL, whose owner is named: gateway or deadletter.
// A nil provider is otel's global one. Problem names what keeps a store from answering,
// in one of a few words, and is empty for an error that is an answer, such as that
// something is not there; it is not asked of a context's errors.
func NewMetrics(provider metric.MeterProvider, owner, url string, problem func(error) string) *Metrics {
	meter := telemetry.NewMeter(provider, "github.com/warrenmq/warren/pkg/sqldb")
	store := telemetry.StoreKey.String(owner)
	m := &Metrics{
		duration: meter.Durations("warren.store.operation.duration", "How long the store takes for what it is asked, waiting for its turn included."),
		labels: telemetry.NewLabels(func(k operationKey) []attribute.KeyValue {
			attributes := []attribute.KeyValue{store, telemetry.OperationKey.String(k.operation)}
			if k.problem != "" {
				attributes = append(attributes, semconv.ErrorTypeKey.String(k.problem))
			}
			return attributes
		}),
		problem: problem,
		size:    telemetry.NewSampler(sizePeriod, func(context.Context) (int64, error) { return Size(url) }),
	}
	size, labels := meter.ObservedGauge("warren.store.size", "By", "The store's size on disk, with its write-ahead log."), telemetry.NewLabelSet(store)
	m.observe = func() (stop func()) {
		return meter.Observe(func(_ context.Context, o metric.Observer) error {
			if n, ok := m.size.Last(); ok {
				o.ObserveInt64(size, n, labels.Observe...)
			}
			return nil
		}, size)
	}
	return m
}

// Run tells of the store's size until ctx ends.
func (m *Metrics) Run(ctx context.Context) {
	defer m.observe()()
	m.size.Run(ctx)
}

// Done measures an operation, a method of the store, that was begun then. Operations
// must be few.
func (m *Metrics) Done(ctx context.Context, operation string, began time.Time, err error) {
	m.duration.Record(ctx, time.Since(began).Seconds(), m.labels.Of(operationKey{operation, m.problemOf(err)}).Record...)
}

func (m *Metrics) problemOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return m.problem(err)
}

// Size is that of the database which a URL names, its write-ahead log included, in
// bytes. Errors: [ErrURL], the file system's.
func Size(url string) (int64, error) {
	file, err := sqliteFile(url)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, name := range []string{file, file + "-wal"} {
		info, err := os.Stat(name)
		switch {
		case err == nil:
			total += info.Size()
		case name == file || !errors.Is(err, fs.ErrNotExist):
			return 0, fmt.Errorf("size of the store: %w", err)
		}
	}
	return total, nil
}

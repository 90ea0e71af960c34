package telemetry_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// startScraped is Start with a scrape.
func startScraped(t *testing.T) (*telemetry.Scrape, func() error) {
	t.Helper()
	s := &telemetry.Scrape{}
	flush, err := telemetry.Start(t.Context(), "warren-test", "v7", slog.New(slog.DiscardHandler), telemetry.WithScrape(s))
	require.NoError(t, err)
	return s, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return flush(ctx)
	}
}

// scrape reads what Prometheus would.
func scrape(t *testing.T, s *telemetry.Scrape) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(w.Body)
	require.NoError(t, err)
	return families
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, l := range m.Label {
		labels[l.GetName()] = l.GetValue()
	}
	return labels
}

func TestScrape(t *testing.T) {
	clean(t)
	s, flush := startScraped(t)
	_, metrics := telemetry.On()
	require.True(t, metrics)
	use(t)
	seconds, err := otel.Meter("test").Float64Histogram("some.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(telemetry.SecondsBuckets...))
	require.NoError(t, err)
	seconds.Record(t.Context(), 0.02, metric.WithAttributes(telemetry.StoreKey.String("gateway")))
	count, err := otel.Meter("test").Int64Counter("some.events")
	require.NoError(t, err)
	count.Add(t.Context(), 3)

	got := scrape(t, s)
	require.EqualValues(t, 42, got["a_gauge"].Metric[0].Gauge.GetValue())
	require.EqualValues(t, 3, got["some_events_total"].Metric[0].Counter.GetValue())
	histogram := got["some_duration_seconds"].Metric[0]
	require.Equal(t, map[string]string{"warren_store": "gateway"}, labelsOf(histogram), "labels are only those of the measurement")
	require.Len(t, histogram.Histogram.Bucket, len(telemetry.SecondsBuckets)+1)
	require.EqualValues(t, 1, got["warren_build_info"].Metric[0].Gauge.GetValue())
	require.Equal(t, map[string]string{"service_version": "v7", "go_version": runtime.Version()}, labelsOf(got["warren_build_info"].Metric[0]))
	require.Positive(t, got["go_goroutine_count"].Metric[0].GetGauge().GetValue())
	require.NotEmpty(t, got["go_memory_used_bytes"])
	require.Equal(t, "warren-test", labelsOf(got["target_info"].Metric[0])["service_name"])
	require.NoError(t, flush())
}

func TestVariablesTurnTheScrapeOff(t *testing.T) {
	for name, c := range map[string]struct {
		env environment
		on  bool
	}{
		"by default":           {nil, true},
		"prometheus":           {environment{"OTEL_METRICS_EXPORTER": "prometheus"}, true},
		"prometheus, endpoint": {environment{"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true},
		"traces off":           {environment{"OTEL_TRACES_EXPORTER": "none"}, true},
		"none":                 {environment{"OTEL_METRICS_EXPORTER": "none"}, false},
		"disabled":             {environment{"OTEL_SDK_DISABLED": "true"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t, c.env)
			s, flush := startScraped(t)
			_, measured := use(t)
			require.Equal(t, c.on, measured)
			require.Equal(t, c.on, s.Handler() != nil)
			require.NoError(t, flush(), "nothing goes anywhere else")
		})
	}
}

func TestAScrapeThatIsOff(t *testing.T) {
	clean(t)
	s := &telemetry.Scrape{Off: true}
	flush, err := telemetry.Start(t.Context(), "warren-test", "v7", slog.New(slog.DiscardHandler), telemetry.WithScrape(s))
	require.NoError(t, err)
	_, measured := use(t)
	require.False(t, measured)
	require.Nil(t, s.Handler())
	require.NoError(t, flush(t.Context()))
}

// Both get all, side by side.
func TestScrapeBesideOTLP(t *testing.T) {
	received := newReceiver()
	clean(t, environment{
		"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": overHTTP(t, received), "OTEL_TRACES_EXPORTER": "none",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
	})
	s, flush := startScraped(t)
	use(t)
	require.EqualValues(t, 42, scrape(t, s)["a_gauge"].Metric[0].Gauge.GetValue())
	require.NoError(t, flush())
	requireGauge(t, received)
}

// What has no bound is counted together from some series on, and no measurement is
// lost by that.
func TestSeriesAreBounded(t *testing.T) {
	clean(t)
	s, flush := startScraped(t)
	count, err := otel.Meter("test").Int64Counter("some.events")
	require.NoError(t, err)
	const sets = 5 * telemetry.MaxSeries / 4
	for i := range sets {
		count.Add(t.Context(), 1, metric.WithAttributes(attribute.String("id", strconv.Itoa(i))))
	}
	series := scrape(t, s)["some_events_total"].Metric
	require.Len(t, series, telemetry.MaxSeries)
	var sum, overflow float64
	for _, m := range series {
		sum += m.Counter.GetValue()
		if labelsOf(m)["otel_metric_overflow"] == "true" {
			overflow = m.Counter.GetValue()
		}
	}
	require.EqualValues(t, sets, sum)
	require.EqualValues(t, sets-telemetry.MaxSeries+1, overflow)
	require.NoError(t, flush())
}

// One metric that can't be told does not hide the others.
func TestAScrapeLeavesOutWhatItCant(t *testing.T) {
	clean(t)
	s, flush := startScraped(t)
	for i := range 2 {
		_, err := otel.Meter(fmt.Sprint("scope ", i)).Int64ObservableGauge("same", metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(1)
			return nil
		}))
		require.NoError(t, err)
	}
	use(t)
	require.EqualValues(t, 42, scrape(t, s)["a_gauge"].Metric[0].Gauge.GetValue())
	require.NoError(t, flush())
}

package telemetry

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// Scrape is what Prometheus reads of a process, once [Start] was given it. The zero
// Scrape is ready for that.
type Scrape struct {
	// Off: there is nowhere to read it, so that nothing is measured for it.
	Off bool

	registry *prometheus.Registry
}

// WithScrape has metrics measured for a scrape, besides what goes out over OTLP,
// unless OTEL_SDK_DISABLED=true or OTEL_METRICS_EXPORTER=none. With
// OTEL_METRICS_EXPORTER=prometheus they go nowhere else.
func WithScrape(s *Scrape) Option {
	return func(o *options) {
		if !s.Off {
			o.scrape = s
		}
	}
}

// start makes the reader. It has a registry of its own: what libraries put into
// Prometheus' default one is not Warren's.
func (s *Scrape) start() (sdkmetric.Reader, error) {
	s.registry = prometheus.NewRegistry()
	reader, err := exporter.New(
		exporter.WithRegisterer(s.registry),
		exporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		// Names of metrics are unique in Warren: which package measures is no label.
		exporter.WithoutScopeInfo(),
	)
	if err != nil {
		return nil, fmt.Errorf("set up the metrics for Prometheus: %w", err)
	}
	return reader, nil
}

// maxScrapes is how many may be under way at the same time.
const maxScrapes = 4

// Handler answers scrapes; it is nil when metrics are off. A metric that can't be
// told is left out, and logged as [LogErrors] says.
func (s *Scrape) Handler() http.Handler {
	if s.registry == nil {
		return nil
	}
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorLog: scrapeLog{}, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes,
	})
}

// scrapeLog implements promhttp.Logger.
type scrapeLog struct{}

// Println implements promhttp.Logger.
func (scrapeLog) Println(v ...any) { otel.Handle(errors.New(fmt.Sprint(v...))) }

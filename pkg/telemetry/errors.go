package telemetry

import (
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"golang.org/x/time/rate"
)

// How often a failure of telemetry is a warning: a receiver that is away, or
// takes in no metrics, fails each export.
const (
	warningInterval = 10 * time.Minute
	// warningBurst lets traces and metrics fail at once.
	warningBurst = 2
)

// LogErrors logs to log what OpenTelemetry reports of itself, failed exports
// above all: one warning in ten minutes, or two at once, the others at debug
// level. Each call takes the place of the one before.
func LogErrors(log *slog.Logger) {
	otel.SetErrorHandler(&errorLog{log: log, warnings: rate.NewLimiter(rate.Every(warningInterval), warningBurst)})
}

// errorLog implements otel.ErrorHandler.
type errorLog struct {
	log      *slog.Logger
	warnings *rate.Limiter
	// held counts the errors since the last warning.
	held atomic.Int64
}

// Handle implements otel.ErrorHandler.
func (l *errorLog) Handle(err error) {
	if !l.warnings.Allow() {
		l.held.Add(1)
		l.log.Debug("telemetry failed", "error", err)
		return
	}
	l.log.Warn("telemetry failed", "error", err, "failures_not_shown", l.held.Swap(0))
}

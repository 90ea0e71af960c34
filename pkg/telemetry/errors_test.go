package telemetry_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// A receiver that is away for a day is no warning a minute.
func TestErrorsOfTelemetryAreRareWarnings(t *testing.T) {
	clean(t)
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		telemetry.LogErrors(telemetry.NewLogger(&out, slog.LevelDebug, false))
		const exports = 24 * 60
		for range exports {
			otel.Handle(errors.New("nobody listens"))
			<-time.After(time.Minute)
		}
		require.Equal(t, exports, strings.Count(out.String(), "nobody listens"), "all of them at debug level")
		require.InDelta(t, 24*6, strings.Count(out.String(), "level=WARN"), 2)
		require.Contains(t, out.String(), "failures_not_shown=9")
	})
}

package telemetry_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/warrenmq/warren/pkg/telemetry"
)

func remote(sampled bool) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.TraceFlags(0).WithSampled(sampled), Remote: true,
	})
}

// traced turns traces on with a sampler and gives a tracer.
func traced(t *testing.T, sampler environment) trace.Tracer {
	t.Helper()
	clean(t, sampler, environment{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": overHTTP(t, newReceiver()) + "/v1/traces"})
	stop, err := telemetry.Start(t.Context(), "warren-test", "v7", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { telemetry.Flush(stop, slog.New(slog.DiscardHandler)) })
	return otel.Tracer("test")
}

func TestWhatASampledCallAskedForIsSampled(t *testing.T) {
	for _, sampler := range []string{"traceidratio", "parentbased_traceidratio"} {
		t.Run(sampler, func(t *testing.T) {
			tracer := traced(t, environment{"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0"})
			sampled, unsampled, none := remote(true), remote(false), trace.SpanContext{}
			for name, c := range map[string]struct {
				links []trace.SpanContext
				want  bool
			}{
				"by nobody":                               {nil, false},
				"by nobody that is traced":                {[]trace.SpanContext{none}, false},
				"by a call":                               {[]trace.SpanContext{sampled}, true},
				"by a call that is not":                   {[]trace.SpanContext{unsampled}, false},
				"a replay":                                {[]trace.SpanContext{unsampled, sampled}, true},
				"a replay of a sampled attempt":           {[]trace.SpanContext{sampled, unsampled}, false},
				"a replay of a sampled attempt by nobody": {[]trace.SpanContext{sampled, none}, false},
			} {
				span, _ := telemetry.StartPublish(t.Context(), tracer, message, telemetry.Apart(c.links...)...)
				require.Equal(t, c.want, span.SpanContext().IsSampled(), name)
				span.End()
			}
			_, fire := telemetry.StartFire(trace.ContextWithSpanContext(t.Context(), sampled), tracer, "nightly")
			require.True(t, fire.SpanContext().IsSampled())
			fire.End()
			_, batch := telemetry.StartProcessBatch(t.Context(), tracer, "warren.status", 3)
			require.False(t, batch.SpanContext().IsSampled())
			batch.End()
		})
	}
}

// A link to a sampled span is no reason to sample where the trace has begun elsewhere.
func TestALinkDecidesOnlyOfRoots(t *testing.T) {
	tracer := traced(t, nil)
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), remote(false))
	span, _ := telemetry.StartPublish(ctx, tracer, message, telemetry.LinkedTo(remote(true)))
	require.False(t, span.SpanContext().IsSampled())
}

// Roots and children are sampled as the SDK says that the variables have it.
func TestTheEnvironmentChoosesTheSampler(t *testing.T) {
	for name, c := range map[string]struct {
		env                          environment
		root, ofSampled, ofUnsampled bool
	}{
		"default":                             {nil, true, true, false},
		"unknown":                             {environment{"OTEL_TRACES_SAMPLER": "jaeger_remote"}, true, true, false},
		"always_on":                           {environment{"OTEL_TRACES_SAMPLER": "always_on"}, true, true, true},
		"always_off":                          {environment{"OTEL_TRACES_SAMPLER": " Always_Off "}, false, false, false},
		"traceidratio":                        {environment{"OTEL_TRACES_SAMPLER": "traceidratio"}, true, true, true},
		"traceidratio 0":                      {environment{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": " 0 "}, false, false, false},
		"traceidratio 2":                      {environment{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, true, true, true},
		"parentbased_always_on":               {environment{"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, true, true, false},
		"parentbased_always_off":              {environment{"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, false, true, false},
		"parentbased_traceidratio":            {environment{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, true, true, false},
		"parentbased_traceidratio 0":          {environment{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, false, true, false},
		"parentbased_traceidratio of nothing": {environment{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			tracer := traced(t, c.env)
			var got []bool
			for _, parent := range []trace.SpanContext{{}, remote(true), remote(false)} {
				_, span := tracer.Start(trace.ContextWithRemoteSpanContext(t.Context(), parent), "x")
				got = append(got, span.SpanContext().IsSampled())
				span.End()
			}
			require.Equal(t, []bool{c.root, c.ofSampled, c.ofUnsampled}, got)
		})
	}
}

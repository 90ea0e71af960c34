package telemetry

import (
	"os"
	"strconv"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// asAsked samples the roots of traces that a sampled span asked for, which is their last
// link at the start, as [Apart] has it: who samples is the caller. Of all others the
// sampler in it decides.
type asAsked struct{ sdktrace.Sampler }

// ShouldSample implements [sdktrace.Sampler].
func (s asAsked) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	last := len(p.Links) - 1
	if last < 0 || !p.Links[last].SpanContext.IsSampled() || trace.SpanContextFromContext(p.ParentContext).IsValid() {
		return s.Sampler.ShouldSample(p)
	}
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}

// Description implements [sdktrace.Sampler].
func (s asAsked) Description() string { return "AsAsked{" + s.Sampler.Description() + "}" }

// samplerFromEnv is the sampler that OTEL_TRACES_SAMPLER and its _ARG name, or the SDK's
// default. The SDK reads them too, but tells nobody which it took; what is wrong with
// them it reports, and both then take the same in its place.
func samplerFromEnv() sdktrace.Sampler {
	switch variable("OTEL_TRACES_SAMPLER") {
	case "always_on":
		return sdktrace.AlwaysSample()
	case "always_off":
		return sdktrace.NeverSample()
	case "traceidratio":
		return sdktrace.TraceIDRatioBased(ratioFromEnv())
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample())
	case "parentbased_traceidratio":
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratioFromEnv()))
	default:
		return sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
}

// ratioFromEnv is 1 unless there is a number from 0 to 1.
func ratioFromEnv() float64 {
	ratio, err := strconv.ParseFloat(variable("OTEL_TRACES_SAMPLER_ARG"), 64)
	if err != nil || ratio < 0 || ratio > 1 {
		return 1
	}
	return ratio
}

func variable(key string) string { return strings.ToLower(strings.TrimSpace(os.Getenv(key))) }

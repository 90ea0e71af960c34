package telemetry

import (
	"cmp"
	"fmt"
	"os"
	"strings"
)

// protocol is what a signal is exported over.
type protocol string

const (
	off          protocol = ""
	overGRPC     protocol = "grpc"
	overProtobuf protocol = "http/protobuf"
)

// disabled says whether the environment wants no telemetry at all.
func disabled() bool { return strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") }

// The signals, as variables name them.
const (
	signalTraces  = "TRACES"
	signalMetrics = "METRICS"
)

// scrapeFromEnv says whether metrics may be scraped.
func scrapeFromEnv() bool { return !disabled() && os.Getenv("OTEL_METRICS_EXPORTER") != "none" }

// protocolFromEnv says how a signal is exported over OTLP.
func protocolFromEnv(signal string) (protocol, error) {
	if disabled() {
		return off, nil
	}
	key := "OTEL_" + signal + "_EXPORTER"
	switch name := os.Getenv(key); {
	case name == "none", name == "prometheus" && signal == signalMetrics:
		return off, nil
	case name == "otlp":
	case name == "":
		if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") == "" {
			return off, nil
		}
	default:
		return off, fmt.Errorf("%s=%s: only %s are known", key, name, exporters(signal))
	}
	key = "OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"
	if os.Getenv(key) == "" {
		key = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	switch p := cmp.Or(protocol(os.Getenv(key)), overProtobuf); p {
	case overGRPC, overProtobuf:
		return p, nil
	default:
		return off, fmt.Errorf("%s=%s: only grpc and http/protobuf are known", key, p)
	}
}

// exporters are the values that a signal's variable may have.
func exporters(signal string) string {
	if signal == signalMetrics {
		return "otlp, prometheus and none"
	}
	return "otlp and none"
}

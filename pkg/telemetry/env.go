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

// protocolFromEnv says how a signal, TRACES or METRICS, is exported.
func protocolFromEnv(signal string) (protocol, error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return off, nil
	}
	key := "OTEL_" + signal + "_EXPORTER"
	switch name := os.Getenv(key); name {
	case "none":
		return off, nil
	case "otlp":
	case "":
		if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") == "" {
			return off, nil
		}
	default:
		return off, fmt.Errorf("%s=%s: only otlp and none are known", key, name)
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

package task

import (
	"maps"
	"slices"
	"strings"
)

// Bounds of metadata, in bytes of keys and values.
const (
	// MaxMetadata is what a submission may bring for its handler.
	MaxMetadata = 16 << 10
	// MaxResponseMetadata is what is kept of a call's headers, and of its trailers.
	MaxResponseMetadata = 8 << 10
)

// Metadata is gRPC metadata that travels with a task or comes back from its
// handler, in the form of grpc's metadata.MD: keys in lower case, values of keys
// that end in `-bin` are raw bytes.
type Metadata map[string][]string

// stayingKeys never travel, nor do those with one of stayingPrefixes: what
// authenticates a caller here is nobody's business elsewhere, trace context has its
// own way, and the transport makes its own.
var (
	stayingKeys = []string{
		"authorization", "cookie", "set-cookie", "traceparent", "tracestate", "baggage", "grpc-trace-bin",
		"content-type", "user-agent", "te", "host", "connection", "keep-alive", "upgrade", "trailer", "transfer-encoding",
	}
	stayingPrefixes = []string{":", "grpc-", "warren-", "proxy-"}
)

// Travels says whether metadata with this key, in lower case, may leave the call
// that it came with.
func Travels(key string) bool {
	return !slices.Contains(stayingKeys, key) &&
		!slices.ContainsFunc(stayingPrefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// Travelling is what of metadata may travel; nil for nothing.
func Travelling(md map[string][]string) Metadata {
	var out Metadata
	for key, values := range md {
		if !Travels(key) || len(values) == 0 {
			continue
		}
		if out == nil {
			out = Metadata{}
		}
		out[key] = values
	}
	return out
}

// Size is the bytes of all keys and values.
func (m Metadata) Size() int {
	n := 0
	for key, values := range m {
		n += m.sizeOf(key, values)
	}
	return n
}

func (m Metadata) sizeOf(key string, values []string) int {
	n := 0
	for _, v := range values {
		n += len(key) + len(v)
	}
	return n
}

// Cut leaves keys out, the last in their order, until no more than limit bytes
// are left.
func (m Metadata) Cut(limit int) Metadata {
	if m.Size() <= limit {
		return m
	}
	out := Metadata{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if limit -= m.sizeOf(key, m[key]); limit < 0 {
			break
		}
		out[key] = m[key]
	}
	return out
}

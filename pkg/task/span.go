package task

import "encoding/hex"

// Span is an execution's place in a distributed trace, by the W3C's ids
// (https://www.w3.org/TR/trace-context/). Zero bytes are none.
type Span struct {
	TraceID [16]byte
	// SpanID is that of a span which was sampled: somebody can see it.
	SpanID [8]byte
}

// Trace is the trace id in hexadecimal, empty for none.
func (s Span) Trace() string {
	if s.TraceID == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(s.TraceID[:])
}

// ID is the span id in hexadecimal, empty for none.
func (s Span) ID() string {
	if s.SpanID == [8]byte{} {
		return ""
	}
	return hex.EncodeToString(s.SpanID[:])
}

// Bytes are the ids as they travel and are stored, nil for none.
func (s Span) Bytes() (traceID, spanID []byte) {
	if s.TraceID != [16]byte{} {
		traceID = s.TraceID[:]
	}
	if s.SpanID != [8]byte{} {
		spanID = s.SpanID[:]
	}
	return traceID, spanID
}

// SpanOf is the inverse of [Span.Bytes]. What is of another length is none.
func SpanOf(traceID, spanID []byte) (s Span) {
	if len(traceID) == len(s.TraceID) {
		s.TraceID = [16]byte(traceID)
	}
	if len(spanID) == len(s.SpanID) {
		s.SpanID = [8]byte(spanID)
	}
	return s
}

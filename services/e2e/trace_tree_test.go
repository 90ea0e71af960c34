package e2e

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// shownAttributes are those that a tree shows of a span, by the names that it gives
// them.
var shownAttributes = []struct{ key, name string }{
	{"warren.task.run", "run"}, {"warren.task.attempt", "attempt"}, {"warren.outcome", "outcome"}, {"warren.cause", "cause"},
	{"error.type", "error"}, {"warren.schedule.id", "schedule"}, {"messaging.batch.message_count", "messages"},
}

// requireTree waits until a trace is as it is drawn: a line for each span, under its
// parent in the order of their starts, with its name, service, kind, and then what is
// noteworthy and what it is linked to.
func (r *otlpReceiver) requireTree(t testing.TB, traceID string, drawn string) {
	t.Helper()
	want, got := columns(drawn), ""
	brokertest.Eventually(t, 20*time.Second, func() error {
		if got = columns(r.tree(traceID)); got != want {
			return fmt.Errorf("the trace is\n%s\nnot\n%s", got, want)
		}
		return nil
	})
	require.Equal(t, want, got)
}

// columns are the lines of a drawing with one blank for each gap but the indentation.
func columns(drawn string) string {
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(strings.Trim(drawn, "\n"), "\t", "")) {
		text := strings.TrimLeft(line, " ")
		lines = append(lines, line[:len(line)-len(text)]+strings.Join(strings.Fields(text), " "))
	}
	return strings.Join(lines, "\n")
}

// tree draws a trace.
func (r *otlpReceiver) tree(traceID string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var spans []span
	for _, s := range r.spans {
		if hex.EncodeToString(s.TraceId) == traceID {
			spans = append(spans, s)
		}
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	known := func(id []byte) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return bytes.Equal(s.SpanId, id) })
	}
	var out strings.Builder
	var draw func(s span, depth int)
	draw = func(s span, depth int) {
		fmt.Fprintf(&out, "%s%s\n", strings.Repeat("  ", depth), r.line(s))
		for _, child := range spans {
			if bytes.Equal(child.ParentSpanId, s.SpanId) {
				draw(child, depth+1)
			}
		}
	}
	for _, s := range spans {
		if !known(s.ParentSpanId) {
			if len(s.ParentSpanId) > 0 {
				out.WriteString("(elsewhere) ")
			}
			draw(s, 0)
		}
	}
	return out.String()
}

func (r *otlpReceiver) line(s span) string {
	line := fmt.Sprintf("%s %s %s", s.Name, s.service, strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_")))
	for _, shown := range shownAttributes {
		if v := s.value(shown.key); v != "" {
			line += " " + shown.name + "=" + v
		}
	}
	if (s.value("error.type") != "") != (s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR) && strings.HasPrefix(s.Name, "process") {
		line += " (its status says otherwise)"
	}
	var links []string
	for _, l := range s.Links {
		links = append(links, r.label(l.SpanId))
	}
	if len(links) > 0 {
		slices.Sort(links)
		line += " -> " + strings.Join(links, ", ")
	}
	return line
}

// label is a span in a few words: what it does, and which attempt it is.
func (r *otlpReceiver) label(id []byte) string {
	for _, s := range r.spans {
		if bytes.Equal(s.SpanId, id) {
			what, _, _ := strings.Cut(s.Name, " ")
			what = what[strings.LastIndexByte(what, '/')+1:]
			if what == "process" {
				what += fmt.Sprintf("(%s.%s)", s.value("warren.task.run"), s.value("warren.task.attempt"))
			}
			return what
		}
	}
	return "unknown"
}

// value is an attribute as text, empty if there is none.
func (s span) value(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			switch v := a.Value.Value.(type) {
			case *commonpb.AnyValue_IntValue:
				return fmt.Sprint(v.IntValue)
			case *commonpb.AnyValue_DoubleValue:
				return fmt.Sprint(v.DoubleValue)
			}
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// all gives the spans of a name, in whatever trace.
func (r *otlpReceiver) all(name string) []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []span
	for _, s := range r.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

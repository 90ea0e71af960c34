package fingerprint_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/services/deadletter/internal/fingerprint"
)

// checkMessage demands what holds for every message.
func checkMessage(t require.TestingT, message string) {
	e := fingerprint.Explain(fingerprint.Input{Message: message})
	require.Equal(t, e.Message, fingerprint.Normalize(message))
	require.True(t, utf8.ValidString(e.Message))
	if len(e.Message) <= fingerprint.MaxMessage {
		require.Equal(t, e.Message, fingerprint.Normalize(e.Message), "what was normalized changes: %q", message)
	}
	kept := strings.ReplaceAll(strings.ToValidUTF8(message, "\uFFFD"), "\x00", "\uFFFD")
	last := 0
	for _, r := range e.Replacements {
		require.GreaterOrEqual(t, r.Offset, last, "replacements overlap, or are out of order")
		last = r.Offset + len(r.Text)
		require.LessOrEqual(t, last, len(kept))
		require.Equal(t, kept[r.Offset:last], r.Text)
		require.NotEmpty(t, r.Text)
	}
}

func FuzzNormalize(f *testing.F) {
	for _, cases := range messages {
		for give, want := range cases {
			f.Add(give)
			f.Add(want)
		}
	}
	f.Fuzz(func(t *testing.T, message string) { checkMessage(t, message) })
}

// pieces are what messages consist of, whole and in part.
var pieces = []string{
	" ", "  ", "\n", ".", ":", "::", "-", "_", "/", "@", "\\", `"`, "'", "`", "<", ">", "[", "]", "(", ")", ",", "?", "#", "%", "=", "+", "&",
	"a", "b", "e", "f", "x", "T", "Z", "PT", "ms", "s", "KiB", "µs", "ä", "注", "\x00", "\xff", "0", "1", "9", "12", "255", "300", "2026", "12345678",
	"0x", "dead", "beef1", "v2", "h264", "x2x9", "com", "acme.com", "localhost", "go", "Foo", "std", "fe80", "1b28cda", "Jan", "May", "Mon", "UTC", "GMT",
	"2026-11-22", "19:08:35", "10.0.0.1", "::1", ":80", "http://", "s3://", "?a=b", "a@b.co", "jane@acme.com", "fe80::1", "00:1a:2b:3c",
	"018f7d2a-1c3e-7d4b-8a5f-0123456789ab", "<uuid>", "<time>", "<addr>", "<hex>", "<num>", "<id>", "<text>", " m=+0.1", "+0000", "e-9", "PM",
}

func TestNormalizeAnyMessage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkMessage(t, strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, "pieces"), ""))
	})
}

func BenchmarkOf(b *testing.B) {
	in := fingerprint.Input{
		Type: "acme.v1.Images.Resize", Code: 14, Cause: 1, Domain: "acme.com", Reason: "QUOTA",
		Message: `rpc error: code = Unavailable desc = order-4711 of customer 018f7d2a-1c3e-7d4b-8a5f-0123456789ab: ` +
			`dial tcp 10.0.3.17:5432: connect: connection refused after 1.5s at 2026-11-22T19:08:35Z, "quoted" end`,
	}
	b.ReportAllocs()
	for b.Loop() {
		fingerprint.Of(in)
	}
}

// The worst of messages must not take more than linear time.
func BenchmarkNormalizeWorst(b *testing.B) {
	for name, piece := range map[string]string{
		"quotes": `"`, "apostrophes": `' a`, "brackets": "[1:", "colons": "1:", "dots": "1.", "mail": "a.", "hosts": "a-", "ats": "a@", "hex": "ab:",
		"urls": "a://", "open": "<", "units": "1h", "minus": " -1", "months": "Jan ", "days": "Mon 1", "bracketed": "[", "escapes": `\`,
	} {
		message := strings.Repeat(piece, fingerprint.MaxMessage/len(piece))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				fingerprint.Normalize(message)
			}
		})
	}
}

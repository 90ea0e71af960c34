package schema

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	was, is := Text{Name: "revision 1", JSON: []byte("{\n  \"code\": 3,\n  \"x\": 1\n}\n")}, Text{Name: "revision 2", JSON: []byte("{\n  \"x\": 1\n}\n")}
	require.Equal(t, "--- revision 1\n+++ revision 2\n@@ -1,4 +1,3 @@\n {\n-  \"code\": 3,\n   \"x\": 1\n }\n", Diff(was, is))
	require.Empty(t, Diff(was, was))
	require.Equal(t, "--- revision 1 (no valid a.B)\n+++ revision 2\n@@ -0,0 +1,3 @@\n+{\n+  \"x\": 1\n+}\n", Diff(Text{Name: "revision 1 (no valid a.B)"}, is))
}

func TestLongDiffsAreCut(t *testing.T) {
	t.Parallel()
	var was, is strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&was, "ü %d\n", i)
		fmt.Fprintf(&is, "ö %d\n", 7*i)
	}
	diff := Diff(Text{"a", []byte(was.String())}, Text{"b", []byte(is.String())})
	require.LessOrEqual(t, len(diff), MaxDiff)
	require.Greater(t, len(diff), MaxDiff-100)
	require.True(t, utf8.ValidString(diff))
	require.Regexp(t, `\n… cut: \d+ bytes in all\n$`, diff)

	one := Diff(Text{"a", []byte(strings.Repeat("ü", MaxDiff) + "\n")}, Text{"b", []byte("x\n")})
	require.LessOrEqual(t, len(one), MaxDiff)
	require.True(t, utf8.ValidString(one))
	require.Contains(t, Diff(Text{"a", make([]byte, maxCompared+1)}, Text{"b", nil}), "not compared")
}

package show_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/playground/internal/show"
)

func TestPrinterAlignsItsColumns(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := show.NewPrinter(&out)
	p.Title("1. A %s", "thing")
	p.Line("QUEUED", "")
	p.Line("DEAD_LETTERED", "first\nsecond\n")
	p.Text("as it is\n\n")
	timeless := regexp.MustCompile(`\d+\.\d\d s`).ReplaceAllString(out.String(), "0.00 s")
	require.Equal(t, strings.Join([]string{
		"",
		"1. A thing",
		"   0.00 s  QUEUED",
		"   0.00 s  DEAD_LETTERED first",
		"                         second",
		"as it is",
		"",
	}, "\n"), timeless)
}

func TestSize(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int]string{0: "0 B", 999: "999 B", 1_234: "1.2 kB", 2_560_000: "2.6 MB"} {
		require.Equal(t, want, show.Size(bytes))
	}
}

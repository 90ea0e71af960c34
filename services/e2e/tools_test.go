package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// requireToolsEnv, not empty, makes a missing tool an error: where the tools are
// meant to be, as in CI, no test may stay silent.
const requireToolsEnv = "E2E_REQUIRE_TOOLS"

// lacking ends a test that needs a tool which is not there.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(requireToolsEnv) != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// tool is the path of a program that the test can't do without.
func tool(t testing.TB, name, where string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacking(t, "%s is not installed (%s)", name, where)
	}
	return path
}

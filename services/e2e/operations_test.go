package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
)

// operations is the script in README.md.
func operations(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(readme), "```bash\n")
	require.True(t, ok, "README.md has a script in bash")
	script, rest, ok := strings.Cut(rest, "```\n")
	require.True(t, ok)
	require.NotContains(t, rest, "```bash\n", "there is one script")
	return script
}

// The operations script of README.md runs as it is there, by grpcurl alone.
func TestOperationsByGrpcurl(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	p.awaitDead(t, "", 0, 20*time.Second)

	script := filepath.Join(t.TempDir(), "operations.sh")
	require.NoError(t, os.WriteFile(script, []byte(operations(t)), 0o600))
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", script)
	cmd.Env = append(os.Environ(), "DEADLETTER="+p.deadAddress, "GATEWAY="+p.address, "PATH="+filepath.Dir(grpcurlBinary(t))+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	for _, shown := range []string{
		"REPLAY_STATE_ABORTED", "REPLAY_ITEM_STATE_FAILED_AGAIN", "REPLAY_STATE_PAUSED", "REPLAY_STATE_CANCELLED", `customer \u003cnum\u003e does not exist`,
		"DEAD_LETTER_STATE_RESOLVED", `"discarded": "4"`, `"restored": "1"`, `"purged": "3"`, "FAILURE_GROUP_STATE_RESOLVED", `"maxReplays": 3`,
		`"reason": "lunch is over"`, "HOLD",
	} {
		require.True(t, strings.Contains(string(out), shown), "%q is not in %s", shown, out)
	}
	counts := map[deadletterv1.DeadLetterState]int{}
	for _, d := range p.list(t, "") {
		counts[d.State]++
	}
	require.Equal(t, map[deadletterv1.DeadLetterState]int{
		deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN: 1, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_PURGED: 3,
		deadletterv1.DeadLetterState_DEAD_LETTER_STATE_RESOLVED: 1,
	}, counts)
}

// grpcurlBinary builds grpcurl, pinned in .tools/grpcurl.mod.
func grpcurlBinary(t *testing.T) string {
	t.Helper()
	modfile, err := filepath.Abs("../../.tools/grpcurl.mod")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "grpcurl")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-modfile="+modfile, "-o", path, "github.com/fullstorydev/grpcurl/cmd/grpcurl").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

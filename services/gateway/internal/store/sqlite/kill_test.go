package sqlite_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

const (
	killFile  = "WARREN_TEST_KILL_FILE"
	killTasks = 50
)

// TestKilledWriter kills a process in the middle of its batches: those that it
// knows to be applied must be there, and of any other all or nothing.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	path := sqlite.EmptyFile(t)
	var acknowledged, begun []string
	for range 5 {
		a, b := writeUntilKilled(t, path, 1+rand.IntN(20))
		acknowledged, begun = append(acknowledged, a...), append(begun, b...)
	}
	s := open(t, path)
	for _, batch := range acknowledged {
		require.Equal(t, killTasks, tasksThere(t, s, batch), "of an acknowledged batch")
	}
	for _, batch := range begun {
		require.Contains(t, []int{0, killTasks}, tasksThere(t, s, batch), "of a batch")
	}
	require.NoError(t, s.Check(t.Context()))
}

// tasksThere counts the tasks of a batch, each of which must be whole.
func tasksThere(t *testing.T, s *sqlite.Store, batch string) int {
	t.Helper()
	n := 0
	for i := range killTasks {
		events, err := s.Events(t.Context(), killID(batch, i), 0, 10, true)
		if err == nil {
			require.Len(t, events, 3)
			n++
		}
	}
	return n
}

// writeUntilKilled runs writeBatches in a process of its own, which it kills
// when it has said so many lines.
func writeUntilKilled(t *testing.T, path string, lines int) (acknowledged, begun []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killFile+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	scanner := bufio.NewScanner(out)
	for said := 0; scanner.Scan(); {
		switch what, batch, _ := strings.Cut(scanner.Text(), " "); what {
		case "begin":
			begun = append(begun, batch)
		case "applied":
			acknowledged = append(acknowledged, batch)
		default:
			continue
		}
		if said++; said == lines {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait())
	require.NotEmpty(t, begun)
	return acknowledged, begun
}

// TestMain lets the test binary be the process that TestKilledWriter kills, and
// says how often properties are checked.
func TestMain(m *testing.M) {
	if path := os.Getenv(killFile); path != "" {
		fmt.Fprintln(os.Stderr, writeBatches(path))
		os.Exit(1)
	}
	// The command line may say otherwise.
	if err := flag.Set("rapid.checks", strconv.Itoa(sqlite.Checks)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeBatches applies one batch after the other, saying so before and after.
func writeBatches(path string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, "sqlite:"+path, sqlite.Options{})
	if err != nil {
		return err
	}
	for {
		batch := strings.ReplaceAll(task.NewID(), "-", "")
		var events []task.Event
		for i := range killTasks {
			for _, e := range benchTask() {
				e.TaskID = killID(batch, i)
				events = append(events, e)
			}
		}
		fmt.Println("begin", batch)
		if _, err := s.Apply(ctx, events); err != nil {
			return err
		}
		fmt.Println("applied", batch)
	}
}

// killID is the id of a batch's task.
func killID(batch string, i int) string { return batch[:28] + fmt.Sprintf("%04x", i) }

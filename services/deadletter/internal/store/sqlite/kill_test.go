package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

const (
	killFile = "WARREN_TEST_KILL_FILE"
	killSize = 20
)

// TestKilledWriter kills a process in the middle of its batches and replays:
// those that it knows to be stored must be there, and of any other all or nothing.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	path := file(t)
	said := map[string][]string{}
	for range 5 {
		writeUntilKilled(t, path, 1+rand.IntN(30), said)
	}
	s := open(t, path)
	for _, batch := range said["put"] {
		require.Equal(t, killSize, thereOf(t, s, batch), "of a batch that was put")
	}
	for _, batch := range said["begin"] {
		require.Contains(t, []int{0, killSize}, thereOf(t, s, batch), "of a batch")
	}
	intents := map[string]bool{}
	pending, err := s.Intents(t.Context(), store.IntentPending, 0, store.MaxPage)
	require.NoError(t, err)
	for _, i := range pending {
		intents[i.DeadLetterID] = true
	}
	for _, batch := range said["replayed"] {
		require.True(t, intents[killID(batch, 0)], "a replay that was begun")
	}
	for _, batch := range said["put"] {
		d, err := s.Get(t.Context(), killID(batch, 0), false)
		require.NoError(t, err)
		require.Equal(t, intents[d.ID], d.State == store.StateInReplay, "intent and state are one")
	}
	require.NoError(t, s.Check(t.Context()))
}

// thereOf counts the dead letters of a batch, each of which must be whole.
func thereOf(t *testing.T, s *sqlite.Store, batch string) int {
	t.Helper()
	n := 0
	for i := range killSize {
		d, err := s.Get(t.Context(), killID(batch, i), true)
		if err == nil {
			require.Len(t, d.Occurrences, 1)
			require.Len(t, d.Message.Body, 200)
			n++
		}
	}
	return n
}

// writeUntilKilled runs writeBatches in a process of its own, which it kills
// when it has said so many lines, and adds what it said.
func writeUntilKilled(t *testing.T, path string, lines int, said map[string][]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killFile+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); {
		what, batch, _ := strings.Cut(scanner.Text(), " ")
		said[what] = append(said[what], batch)
		if n++; n == lines {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait())
	require.NotEmpty(t, said["begin"])
}

// TestMain lets the test binary be the process that TestKilledWriter kills.
func TestMain(m *testing.M) {
	if path := os.Getenv(killFile); path != "" {
		fmt.Fprintln(os.Stderr, writeBatches(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeBatches puts one batch after the other and replays the first of each,
// saying so before and after.
func writeBatches(path string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, "sqlite:"+path, sqlite.Options{})
	if err != nil {
		return err
	}
	for {
		batch := strings.ReplaceAll(task.NewID(), "-", "")
		var arrivals []store.Arrival
		for i := range killSize {
			arrivals = append(arrivals, dead(killID(batch, i), 1))
		}
		fmt.Println("begin", batch)
		if _, err := s.Put(ctx, arrivals); err != nil {
			return err
		}
		fmt.Println("put", batch)
		if _, _, err := s.BeginReplay(ctx, store.ReplayRequest{ID: killID(batch, 0), Run: 2}); err != nil {
			return err
		}
		fmt.Println("replayed", batch)
	}
}

// killID is the canonical id of a batch's dead letter.
func killID(batch string, i int) string {
	b := batch[:28] + fmt.Sprintf("%04x", i)
	return b[:8] + "-" + b[8:12] + "-" + b[12:16] + "-" + b[16:20] + "-" + b[20:]
}

//go:build unix

package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// childURL says, in a process that a test has started, where its broker is.
const childURL = "BROKER_TEST_CHILD_URL"

// This is what the process does that TestStoppedProcessIsNotFresh stops: it tells of
// its link, until its input ends.
func TestChildOfAStoppedProcess(_ *testing.T) {
	url := os.Getenv(childURL)
	if url == "" {
		return
	}
	cfg := broker.Config{URLs: []string{url}, Name: "a process that is stopped", Logger: slog.New(slog.DiscardHandler)}
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	broker.RunLinks(ctx, cfg, func(ctx context.Context, l *broker.Link, up func()) error {
		up()
		fmt.Println("link, fresh:", l.Fresh())
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				fmt.Println("lost, fresh:", l.Fresh())
				return context.Cause(ctx)
			}
			if time.Since(last) > time.Second {
				fmt.Println("stood, fresh:", l.Fresh())
			}
		}
	})
}

// A process that was stopped knows, before anything else, that others may have
// taken it for gone.
func TestStoppedProcessIsNotFresh(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildOfAStoppedProcess$")
	child.Env = append(os.Environ(), childURL+"="+b.URL)
	in, err := child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	says := func(want string) {
		t.Helper()
		for lines.Scan() {
			require.NotContains(t, lines.Text(), "lost, fresh: true")
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		require.Fail(t, "it ends without saying "+want)
	}
	says("link, fresh: true")
	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	<-time.After(11 * time.Second)
	require.NoError(t, child.Process.Signal(syscall.SIGCONT))
	// It may notice the loss first.
	says(", fresh: false")
	says("link, fresh: true")
	require.NoError(t, in.Close())
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.NoError(t, child.Wait())
}

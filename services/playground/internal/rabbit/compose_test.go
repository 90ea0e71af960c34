//go:build unix

package rabbit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/playground/internal/rabbit"
)

// fakeDocker puts a `docker` onto PATH that notes its arguments and the port,
// one call a line, and answers as the shell text says. It returns the notes.
func fakeDocker(t *testing.T, answer string) func() []string {
	t.Helper()
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	script := fmt.Sprintf("#!/bin/sh\necho \"${WARREN_RABBITMQ_PORT-none} $*\" >>'%s'\n%s\n", notes, answer)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return func() []string {
		text, err := os.ReadFile(notes)
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

func logTo(t *testing.T) func(string, ...any) {
	return func(format string, args ...any) { t.Logf(format, args...) }
}

func TestDockersBrokerIsStartedAndRemoved(t *testing.T) {
	notes := fakeDocker(t, "exit 0")
	broker, err := rabbit.Get(t.Context(), rabbit.Config{ComposeFile: "compose.yml", Project: "ours", Log: logTo(t)})
	require.NoError(t, err)
	require.False(t, broker.Given)
	require.NoError(t, broker.Stop(t.Context()))
	calls := notes()
	require.Len(t, calls, 4)
	require.Equal(t, "none info --format {{.ServerVersion}}", calls[0])
	require.Equal(t, "none compose version", calls[1])
	port, up, _ := strings.Cut(calls[2], " ")
	require.Equal(t, "compose --file compose.yml --project-name ours up --detach --wait --wait-timeout 120 rabbitmq", up)
	require.Equal(t, port+" compose --file compose.yml --project-name ours down --volumes", calls[3])
	require.Equal(t, []string{"amqp://guest:guest@127.0.0.1:" + port + "/"}, broker.URLs)
}

func TestDockersBrokerKeepsItsDataWhenAsked(t *testing.T) {
	notes := fakeDocker(t, "exit 0")
	broker, err := rabbit.Get(t.Context(), rabbit.Config{
		ComposeFile: "compose.yml", Project: "ours", Keep: true, Log: logTo(t),
	})
	require.NoError(t, err)
	require.NoError(t, broker.Stop(t.Context()))
	calls := notes()
	require.True(t, strings.HasSuffix(calls[len(calls)-1], " down"), calls[len(calls)-1])
}

func TestDockersBrokerIsRemovedWhenItsStartIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "started")
	notes := fakeDocker(t, fmt.Sprintf(`case "$*" in *" up "*) echo >'%s'; exec sleep 1000 ;; esac`, started))
	require.NoError(t, syscall.Mkfifo(started, 0o600))
	go func() {
		_, _ = os.ReadFile(started)
		cancel()
	}()
	_, err := rabbit.Get(ctx, rabbit.Config{ComposeFile: "compose.yml", Project: "ours", Log: logTo(t)})
	require.ErrorIs(t, err, context.Canceled)
	calls := notes()
	require.True(t, strings.HasSuffix(calls[len(calls)-1], " down --volumes"), calls[len(calls)-1])
}

func TestAGivenBrokerIsLeftAlone(t *testing.T) {
	t.Parallel()
	broker, err := rabbit.Get(t.Context(), rabbit.Config{Given: []string{"amqp://a/", "amqp://b/"}, Log: logTo(t)})
	require.NoError(t, err)
	require.True(t, broker.Given)
	require.Equal(t, []string{"amqp://a/", "amqp://b/"}, broker.URLs)
	require.NoError(t, broker.Stop(t.Context()))
}

//go:build unix

package platform

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// started runs a shell script as a child.
func started(t *testing.T, script string) *process.Child {
	t.Helper()
	c, err := process.Start(process.Spec{
		Name: "the child", Program: "/bin/sh", Args: []string{"-c", script}, LogFile: filepath.Join(t.TempDir(), "log"),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Pid(), syscall.SIGKILL)
		<-c.Done()
	})
	return c
}

func TestAStoppedChildEndsTheGuard(t *testing.T) {
	c := started(t, "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done")
	p := &Platform{gateway: c}
	ctx, cancel := p.Guard(t.Context())
	defer cancel()
	awaitLog(t, c)
	require.NoError(t, c.Stop(10*time.Second))
	<-ctx.Done()
	require.NoError(t, c.Stop(0), "a second time changes nothing")
}

// awaitLog waits until a child has printed something.
func awaitLog(t *testing.T, c *process.Child) {
	t.Helper()
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(c.LogFile())
		return err == nil && len(text) > 0
	}, 10*time.Second, time.Millisecond)
}

func TestAChildThatEndsByItself(t *testing.T) {
	c := started(t, "exit 3")
	p := &Platform{worker: c}
	ctx, cancel := p.Guard(t.Context())
	defer cancel()
	<-ctx.Done()
	require.ErrorContains(t, context.Cause(ctx), "the child ended by itself: exit status 3")
	require.ErrorContains(t, c.Stop(time.Second), "exit status 3")
}

func TestTheEndsOfLogsAreShown(t *testing.T) {
	p := &Platform{cfg: Config{Dir: t.TempDir()}}
	var out bytes.Buffer
	p.ShowLogs(&out)
	require.Empty(t, out.String())
	require.NoError(t, os.WriteFile(p.log(ProcessGateway), append(bytes.Repeat([]byte("early\n"), 5), bytes.Repeat([]byte("late\n"), linesShown)...), 0o600))
	p.ShowLogs(&out)
	require.NotContains(t, out.String(), "early")
	require.Equal(t, linesShown, bytes.Count(out.Bytes(), []byte("late\n")))
}

func TestAPlatformWithoutItsPrograms(t *testing.T) {
	p, err := Start(t.Context(), Config{
		Broker: &Broker{URL: "amqp://127.0.0.1:1/"}, Namespace: "bench", Dir: t.TempDir(), Connections: 1, Worker: WorkerSettings{Concurrency: 1},
		Gateway: "/nonexistent/gateway", Bench: "/nonexistent/bench",
	})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, p.Stop())
}

func TestAPlatformWhoseGatewayEnds(t *testing.T) {
	p, err := Start(t.Context(), Config{
		Broker: &Broker{URL: "amqp://127.0.0.1:1/"}, Namespace: "bench", Dir: t.TempDir(), Connections: 1, Worker: WorkerSettings{Concurrency: 1},
		Gateway: "/bin/false", Bench: "/bin/cat",
	})
	require.ErrorContains(t, err, "ended by itself: exit status 1")
	require.Error(t, p.Stop())
}

// fakeBench is a script in the place of this program, which runs as the worker.
func fakeBench(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bench")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700))
	return file
}

func TestAWorkerIsReplaced(t *testing.T) {
	p := &Platform{cfg: Config{
		Broker: &Broker{URL: "amqp://127.0.0.1:1/"}, Dir: t.TempDir(),
		Bench: fakeBench(t, `trap 'exit 0' TERM; echo "all 1 $2 $3"; while :; do sleep 0.01; done`),
	}}
	p.gateway = started(t, "trap 'exit 0' TERM; while :; do sleep 0.01; done")
	for _, want := range []WorkerSettings{{Concurrency: 4}, {Concurrency: 16, Prefetch: 64}} {
		require.NoError(t, p.ReplaceWorker(want))
		arguments, err := p.Reports.AwaitAll(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, []string{fmt.Sprint("--concurrency=", want.Concurrency), fmt.Sprint("--prefetch=", want.Prefetch)}, arguments)
	}
	require.NoError(t, p.Stop())
}

func TestAWorkerThatDoesNotDrainIsNotReplaced(t *testing.T) {
	p := &Platform{cfg: Config{Broker: &Broker{URL: "amqp://127.0.0.1:1/"}, Dir: t.TempDir(), Bench: fakeBench(t, "exit 3")}}
	require.NoError(t, p.startWorker(WorkerSettings{}))
	<-p.worker.Done()
	require.ErrorContains(t, p.ReplaceWorker(WorkerSettings{}), "exit status 3")
}

func TestTheSizeOfTheStore(t *testing.T) {
	p := &Platform{cfg: Config{Dir: t.TempDir()}}
	size, err := p.StoreBytes()
	require.NoError(t, err)
	require.Zero(t, size)
	require.NoError(t, os.WriteFile(p.store(), make([]byte, 100), 0o600))
	require.NoError(t, os.WriteFile(p.store()+"-wal", make([]byte, 50), 0o600))
	size, err = p.StoreBytes()
	require.NoError(t, err)
	require.EqualValues(t, 150, size)
}

func TestAServerThatEndsIsNotWaitedFor(t *testing.T) {
	p := &Platform{cfg: Config{Dir: t.TempDir(), Bench: fakeBench(t, "exit 3"), Server: true}}
	require.NoError(t, p.startServer(t.Context()))
	ctx, cancel := p.Guard(t.Context())
	defer cancel()
	require.ErrorContains(t, p.awaitServer(ctx), "wait for the server: the server ended by itself: exit status 3")
	require.ErrorContains(t, p.Stop(), "exit status 3")
}

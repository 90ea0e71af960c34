package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// waitingDeaths is how many tasks die while the store takes nothing.
const waitingDeaths = 40

// TestFaultDeadLettersWaitForTheStore: what dies while the dead-letter service's store
// is full, locked or away waits in RabbitMQ, and comes in once when it works again.
func TestFaultDeadLettersWaitForTheStore(t *testing.T) {
	t.Parallel()
	for name, out := range map[string]func(*testing.T, *platform) (back func()){
		"full":              fillDeadStore,
		"locked":            lockDeadStore,
		"away at the start": takeDeadStore,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b := onVHost(t)
			p.startWorker(t, "--concurrency", "8")
			p.startDeadletter(t)
			p.awaitReady(t, typeFail)
			first := p.die(t, "before")
			back := out(t, p)
			ids := map[string]bool{first: true}
			for n := range waitingDeaths {
				ids[p.submit(t, typeFail, fail(codes.FailedPrecondition, fmt.Sprint(n)+strings.Repeat("x", 4096))).TaskId] = true
			}
			for id := range ids {
				require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, p.await(t, id).State, "nobody waits for that store")
			}
			brokertest.Eventually(t, 20*time.Second, func() error {
				if n := b.Queue(t, "warren.dead").Messages; n < waitingDeaths/2 {
					return fmt.Errorf("%d dead letters wait in RabbitMQ", n)
				}
				return nil
			})
			back()
			for _, d := range p.awaitDead(t, `state = "OPEN"`, 1+waitingDeaths, time.Minute) {
				require.True(t, ids[d.DeadLetterId])
				require.EqualValues(t, 1, d.OccurrenceCount)
			}
			brokertest.Eventually(t, 20*time.Second, func() bool { return b.Queue(t, "warren.dead").Messages == 0 })
		})
	}
}

// fillDeadStore lets no file of the service grow, as if its disk were full.
func fillDeadStore(t *testing.T, p *platform) func() {
	var was unix.Rlimit
	pid := p.deadletter.cmd.Process.Pid
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &was))
	log, err := os.Stat(p.deadStore + "-wal")
	require.NoError(t, err)
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(log.Size()), Max: was.Max}, nil))
	return func() { require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_FSIZE, &was, nil)) }
}

// lockDeadStore holds the store's write lock, as another process would.
func lockDeadStore(t *testing.T, p *platform) func() {
	db, err := sql.Open("sqlite", "file:"+p.deadStore+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback()) }
}

// takeDeadStore starts the service again while it can't open its store.
func takeDeadStore(t *testing.T, p *platform) func() {
	p.deadletter.terminate(t, 10*time.Second)
	back := lockDeadStore(t, p)
	p.startDeadletter(t)
	return back
}

package e2e

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // makes the store unwritable from outside

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// faults lets everything go wrong once, at moments that the seed decides.
func (d *drill) faults(t *testing.T, ctx context.Context, victim, drained *process) {
	r := d.rand(1000)
	var wg sync.WaitGroup
	at := func(f func()) {
		when := drillSpan/10 + time.Duration(r.Int64N(int64(drillSpan*7/10)))
		wg.Go(func() {
			if wait(ctx, when) == nil {
				f()
			}
		})
	}
	pause := func() time.Duration { return time.Duration(r.Int64N(int64(2 * time.Second))) }
	workerPause, gatewayPause, graceful := pause(), pause(), r.IntN(2) == 0
	at(func() {
		victim.kill()
		_ = wait(ctx, workerPause)
		d.p.startWorker(t, "--concurrency", "16")
	})
	at(func() { d.drain(t, ctx, drained) })
	at(func() {
		d.p.gateway.kill()
		_ = wait(ctx, gatewayPause)
		d.p.startGateway(t)
	})
	at(func() {
		d.brokerTurns.Add(1)
		if graceful {
			if err := d.node.Stop(ctx); err != nil {
				t.Errorf("stop the broker: %v", err)
			}
		} else if err := d.node.Kill(); err != nil {
			t.Errorf("kill the broker: %v", err)
		}
		if err := d.node.Restart(ctx); err != nil {
			t.Errorf("restart the broker: %v", err)
		}
		d.brokerTurns.Add(1)
	})
	at(func() { d.p.lockStore(t, ctx, storeOutage) })
	wg.Wait()
}

// drain drains a worker while it executes something that outlasts its grace, as far
// as the other faults let it.
func (d *drill) drain(t *testing.T, ctx context.Context, w *process) {
	d.p.startWorker(t, "--concurrency", "16")
	turns := d.brokerTurns.Load()
	busy := d.occupy(ctx, w)
	w.terminate(t, 20*time.Second)
	d.mustGiveBack.Store(busy && turns%2 == 0 && d.brokerTurns.Load() == turns)
}

// occupy submits long tasks until the worker executes one of them, or it is clear that
// it does not for now.
func (d *drill) occupy(ctx context.Context, w *process) bool {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		task := d.submitOne(ctx, typeDelay, delay(4*time.Second))
		if task == nil {
			continue
		}
		if d.executor(ctx, task.TaskId) == int64(w.cmd.Process.Pid) {
			return true
		}
	}
	return false
}

// executor gives the process id of the worker that executes a task, 0 if that is not
// known soon.
func (d *drill) executor(ctx context.Context, taskID string) int64 {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for wait(ctx, 20*time.Millisecond) == nil {
		r, err := d.p.tasks.ListTaskAttempts(ctx, &taskv1.ListTaskAttemptsRequest{TaskId: taskID})
		if err != nil || len(r.Attempts) == 0 {
			continue
		}
		w, err := d.p.admin.GetWorker(ctx, &adminv1.GetWorkerRequest{WorkerId: r.Attempts[len(r.Attempts)-1].WorkerId})
		if err == nil {
			return w.Worker.GetPid()
		}
	}
	return 0
}

// lockStore makes the store unwritable: another connection holds its write lock,
// and calls locked once it does.
func (p *platform) lockStore(t testing.TB, ctx context.Context, d time.Duration, locked ...func()) {
	db, err := sql.Open("sqlite", "file:"+p.store+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Errorf("open the store: %v", err)
		return
	}
	defer db.Close()
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		t.Errorf("lock the store: %v", err)
		return
	}
	for _, f := range locked {
		f()
	}
	_ = wait(ctx, d)
	if err := tx.Rollback(); err != nil {
		t.Errorf("unlock the store: %v", err)
	}
}

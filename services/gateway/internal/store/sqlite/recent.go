package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"maps"
	"sync"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
)

// selectDataVersion changes when another connection has committed, whichever
// process has it. It says nothing to other connections than the one that asks.
const selectDataVersion = `PRAGMA data_version`

// maxRecent bounds the tasks of one generation of recent.
const maxRecent = 4096

// recent are tasks as the last transactions of the writer left them, which need
// not be loaded again: most tasks go on soon after they are queued. They hold as
// long as nobody else writes into the database, which each transaction asks
// before it takes any. Within this process, each transaction that changes tasks
// takes them out of here first; a purge removes only those that have ended, which
// are not kept.
type recent struct {
	mu sync.Mutex
	// turn counts transactions, of which only the last may keep tasks.
	turn int64
	// version is that for which the tasks hold.
	version version
	// Tasks are kept in young; when that is full, it becomes old, and those that
	// were old are forgotten.
	young, old map[uuid.UUID]*known
}

// version stays as long as no other connection commits.
type version struct{ session, data int64 }

// known is what is stored of a task.
type known struct {
	task      task.Task
	purgedRun int
	// lastKey is the greatest of the history, as it is stored; nil for none.
	lastKey []byte
}

// begin is for a transaction that has the write lock. It returns its turn.
func (r *recent) begin(ctx context.Context, session int64, dataVersion *sql.Stmt) (turn int64, err error) {
	v := version{session: session}
	if err := dataVersion.QueryRowContext(ctx).Scan(&v.data); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn++; v != r.version {
		r.version, r.young, r.old = v, nil, nil
	}
	return r.turn, nil
}

// take takes a task out, until it is kept again: its transaction may fail.
func (r *recent) take(id uuid.UUID) *known {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tasks := range []map[uuid.UUID]*known{r.young, r.old} {
		if k, ok := tasks[id]; ok {
			delete(tasks, id)
			return k
		}
	}
	return nil
}

// keep is for a transaction after its commit. If the next one has begun, that may
// have changed the tasks.
func (r *recent) keep(turn int64, tasks []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if turn != r.turn {
		return
	}
	for _, t := range tasks {
		if !t.goesOn() {
			continue
		}
		if len(r.young) >= maxRecent {
			r.young, r.old = nil, r.young
		}
		if r.young == nil {
			r.young = make(map[uuid.UUID]*known)
		}
		r.young[t.id] = t.keepable()
	}
}

// goesOn says whether a task is worth keeping: it is likely to go on soon, and
// small.
func (t *entry) goesOn() bool {
	is := &t.task
	return is.ID != "" && !is.State.Terminal() && is.Failure == nil && is.Progress == nil
}

// keepable is what is stored of the task now, apart from memory of the caller's.
func (t *entry) keepable() *known {
	k := &known{task: t.task, purgedRun: t.purgedRun, lastKey: t.lastKey}
	k.task.Labels, k.task.PayloadSHA256 = maps.Clone(k.task.Labels), bytes.Clone(k.task.PayloadSHA256)
	return k
}

package control

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// entry is a cancellation in memory, where there can be a million of them.
type entry struct {
	task uuid.UUID
	run  int32
	// settled says that it has taken effect: no worker can start the run any more. That
	// the task is CANCELLED does not, for a worker that met one of its messages says that.
	settled bool
	// seen says that the run has ended, by what the store has.
	seen bool
	// forgotten says that the store has it no more.
	forgotten bool
	position  int64
	// at is in microseconds.
	at     int64
	reason string
	shelf  *shelf
}

// cancellation is the entry as the store has it, without Seen.
func (e *entry) cancellation() store.Cancellation {
	return store.Cancellation{
		TaskID: e.task.String(), Run: int(e.run), Type: e.shelf.taskType, Position: e.position,
		Reason: e.reason, Time: time.UnixMicro(e.at).UTC(),
	}
}

// proto is the entry as workers are told it. It shares memory with it.
func (e *entry) proto() *brokerv1.Cancellation {
	return &brokerv1.Cancellation{TaskId: e.task[:], Run: e.run, Reason: e.reason}
}

// shelf has the cancellations of one task type.
type shelf struct {
	taskType string
	// entries are by position, ascending.
	entries []*entry
	// waiting are those that have not taken effect, in the order in which they are to
	// be looked at: held ones, which something kept from it; those that were asked for
	// since this gateway was started; those of before, which mostly have.
	held, fresh, old []*entry
}

func (s *shelf) waits() bool { return len(s.held)+len(s.fresh)+len(s.old) > 0 }

// runOf names a run of a task.
type runOf struct {
	task uuid.UUID
	run  int32
}

// book has all cancellations that are known.
type book struct {
	types map[string]*shelf
	runs  map[runOf]*entry
	// latest has the entry of the latest run of a task.
	latest map[uuid.UUID]*entry
	// reason is the last one: those of one call are the same.
	reason string
}

func newBook() book {
	return book{types: map[string]*shelf{}, runs: map[runOf]*entry{}, latest: map[uuid.UUID]*entry{}}
}

// add adds a cancellation that is not known yet. Old says that it is from before
// this gateway was started.
func (b *book) add(c *store.Cancellation, old bool) {
	id, err := uuid.Parse(c.TaskID)
	if err != nil {
		return
	}
	key := runOf{id, int32(c.Run)}
	if b.runs[key] != nil {
		return
	}
	if c.Reason != b.reason {
		b.reason = c.Reason
	}
	s := b.shelf(c.Type)
	e := &entry{
		task: id, run: key.run, seen: !c.Seen.IsZero(), position: c.Position, at: c.Time.UnixMicro(), reason: b.reason, shelf: s,
	}
	b.runs[key] = e
	if known := b.latest[id]; known == nil || known.run < e.run {
		b.latest[id] = e
	}
	s.entries = insert(s.entries, e)
	if old {
		s.old = insert(s.old, e)
	} else {
		s.fresh = insert(s.fresh, e)
	}
}

func (b *book) shelf(taskType string) *shelf {
	s := b.types[taskType]
	if s == nil {
		s = &shelf{taskType: taskType}
		b.types[taskType] = s
	}
	return s
}

// insert keeps the order of positions; mostly the entry is the last.
func insert(entries []*entry, e *entry) []*entry {
	if n := len(entries); n == 0 || entries[n-1].position < e.position {
		return append(entries, e)
	}
	i, _ := slices.BinarySearchFunc(entries, e.position, byPosition)
	return slices.Insert(entries, i, e)
}

func byPosition(e *entry, position int64) int { return cmp.Compare(e.position, position) }

// entry is that of a run; nil if none is known.
func (b *book) entry(taskID string, run int) *entry {
	id, err := uuid.Parse(taskID)
	if err != nil {
		return nil
	}
	return b.runs[runOf{id, int32(run)}]
}

// forget forgets cancellations that the store has no more, and returns them. One that
// has not taken effect stays until it has.
func (b *book) forget(gone []store.Cancellation) []*entry {
	dropped := map[*entry]bool{}
	for i := range gone {
		e := b.entry(gone[i].TaskID, gone[i].Run)
		if e == nil {
			continue
		}
		e.forgotten = true
		if e.settled {
			dropped[e] = true
		}
	}
	return b.remove(dropped)
}

// remove takes entries that have taken effect out, and returns them.
func (b *book) remove(dropped map[*entry]bool) []*entry {
	shelves := map[*shelf]bool{}
	out := make([]*entry, 0, len(dropped))
	for e := range dropped {
		delete(b.runs, runOf{e.task, e.run})
		if b.latest[e.task] == e {
			delete(b.latest, e.task)
		}
		shelves[e.shelf] = true
		out = append(out, e)
	}
	for s := range shelves {
		s.entries = slices.DeleteFunc(s.entries, func(e *entry) bool { return dropped[e] })
	}
	return out
}

// since gives the cancellations of task types with positions above after and up to
// upTo, ascending, at most limit; more says that there are others.
func (b *book) since(types map[string]bool, after, upTo int64, limit int) (found []*entry, more bool) {
	for name := range types {
		s := b.types[name]
		if s == nil {
			continue
		}
		i, _ := slices.BinarySearchFunc(s.entries, after+1, byPosition)
		j, _ := slices.BinarySearchFunc(s.entries, upTo+1, byPosition)
		if i < j {
			found = append(found, s.entries[i:min(j, i+limit+1)]...)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.position, b.position) })
	if len(found) > limit {
		return found[:limit], true
	}
	return found, false
}

// waits says whether a cancellation has not taken effect.
func (b *book) waits() bool {
	for _, s := range b.types {
		if s.waits() {
			return true
		}
	}
	return false
}

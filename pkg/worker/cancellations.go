package worker

import (
	"sync"
	"sync/atomic"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// runKey names a run of a task.
type runKey struct {
	task [16]byte
	run  int32
}

// grounds are why runs are cancelled, and up to which position of the list they
// were told. Many runs share them.
type grounds struct {
	reason   string
	position int64
}

// cancellations are the runs that are not to be started any more, as far as
// gateways have told. They are told in batches, each from one position of the list
// to another: what is before the position is known, whoever told it.
//
// A worker that has lost its control queue may miss some. It is not synced then,
// until a gateway has answered its SyncRequest completely, and starts nothing.
type cancellations struct {
	// size is that of known: who asks pays next to nothing while it is empty.
	size atomic.Int64

	mu    sync.RWMutex
	known map[runKey]*grounds
	// synced says that all up to position are known.
	synced   bool
	position int64
	// control is the number of the control queue that is read, 0 for none, and
	// request the id of the SyncRequest that asks for answers to it.
	control int
	request string
	// next is what batches that began anew have brought so far, up to the position
	// reached; nil if none have.
	next    map[runKey]*grounds
	reached int64
	// changed is closed, and made anew, when any of this changes but for news.
	changed chan struct{}
}

func newCancellations() *cancellations {
	return &cancellations{known: map[runKey]*grounds{}, changed: make(chan struct{})}
}

// of says whether a run is cancelled, and why.
func (c *cancellations) of(key runKey) (reason string, yes bool) {
	if c.size.Load() == 0 {
		return "", false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.known[key]
	if g == nil {
		return "", false
	}
	return g.reason, true
}

// lose says that nothing is heard from gateways any more.
func (c *cancellations) lose() { c.listen(0, "") }

// begin says that the control queue with the number is heard: all is to be asked
// for anew.
func (c *cancellations) begin(control int) { c.listen(control, task.NewID()) }

func (c *cancellations) listen(control int, request string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.synced, c.position, c.control, c.request, c.next = false, 0, control, request, nil
	c.tell()
}

func (c *cancellations) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// syncState is how far the worker is in step with its gateways.
type syncState struct {
	synced   bool
	position int64
	control  int
	request  string
}

// state is the present one, and a channel that is closed when an answer or a part
// of it has come, or one is to be asked for.
func (c *cancellations) state() (syncState, <-chan struct{}) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return syncState{c.synced, c.position, c.control, c.request}, c.changed
}

// learned is what came of a batch.
type learned int

const (
	// nothingNew: it was for others, or known.
	nothingNew learned = iota
	// missedSome: what is before it is not known.
	missedSome
	// knownNow: it is known up to its position.
	knownNow
	// allKnown: with it, everything is that was asked for.
	allKnown
)

// apply takes in a batch.
func (c *cancellations) apply(b *brokerv1.CancellationBatch) learned {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.size.Store(int64(len(c.known))) }()
	c.forget(b.Forget)
	switch {
	case b.RequestId != "" && (c.synced || b.RequestId != c.request), b.RequestId == "" && !c.synced:
		return nothingNew
	case b.After == 0 && (!c.synced || c.position > 0):
		c.next = map[runKey]*grounds{}
		return c.anew(b)
	case c.next != nil && b.After == c.reached:
		return c.anew(b)
	case !c.synced:
		return nothingNew // it is asked for again
	case b.After == c.position:
		add(c.known, b)
		if b.Position <= c.position {
			return nothingNew
		}
		c.position = b.Position
		return knownNow
	case b.Position > c.position:
		return missedSome
	}
	return nothingNew
}

// anew adds to what is to replace what is known, and does that once it is whole.
func (c *cancellations) anew(b *brokerv1.CancellationBatch) learned {
	add(c.next, b)
	c.reached = b.Position
	c.tell()
	if !b.Complete {
		return nothingNew
	}
	for key, g := range c.known {
		// Who told all of this may not have heard of that yet.
		if g.position > b.Position {
			c.next[key] = g
		}
	}
	first := !c.synced
	c.known, c.next, c.position, c.synced = c.next, nil, b.Position, true
	if first {
		return allKnown
	}
	return knownNow
}

// forget forgets runs whose messages are gone: that holds whoever says it when.
func (c *cancellations) forget(gone []*brokerv1.Cancellation) {
	for _, m := range gone {
		if key, ok := keyOf(m); ok {
			delete(c.known, key)
			delete(c.next, key)
		}
	}
}

func add(to map[runKey]*grounds, b *brokerv1.CancellationBatch) {
	shared := map[string]*grounds{}
	for _, m := range b.Entries {
		key, ok := keyOf(m)
		if !ok {
			continue
		}
		if shared[m.Reason] == nil {
			shared[m.Reason] = &grounds{m.Reason, b.Position}
		}
		to[key] = shared[m.Reason]
	}
}

// keyOf is the run that an entry names; false if it names none.
func keyOf(m *brokerv1.Cancellation) (runKey, bool) {
	if len(m.TaskId) != 16 || m.Run < 1 {
		return runKey{}, false
	}
	return runKey{[16]byte(m.TaskId), m.Run}, true
}

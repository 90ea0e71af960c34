package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	resize = "acme.v1.ImageService.Resize"
	crop   = "acme.v1.ImageService.Crop"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// memory is a store in memory, of what control needs.
type memory struct {
	mu            sync.Mutex
	err           error
	tasks         map[string]*task.Task
	cancellations []store.Cancellation
	position      int64
	controls      map[settingKey]store.Control
	workers       map[string]store.WorkerRecord
	// beforePut runs before controls are put.
	beforePut func()
	// pause takes as long as an answer may be on its way.
	pause func()
	// hangPut has the next put of what operators have set wait until its context ends,
	// hangRead the next read. stale has the next put refused, and the read after it hang.
	hangPut, hangRead, stale bool
	// reads is how many pages of cancellations are read before err; 0 for no such bound.
	reads int
}

func newMemory() *memory {
	return &memory{tasks: map[string]*task.Task{}, controls: map[settingKey]store.Control{}, workers: map[string]store.WorkerRecord{}}
}

// lock lets others in before and after it.
func (m *memory) lock() (func(), error) {
	m.rest()
	m.mu.Lock()
	return func() {
		m.mu.Unlock()
		m.rest()
	}, m.err
}

func (m *memory) rest() {
	if m.pause != nil {
		m.pause()
	}
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// add adds a task of a type that is QUEUED.
func (m *memory) add(taskType string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := task.NewID()
	m.tasks[id] = &task.Task{ID: id, Type: taskType, Run: 1, State: task.StateQueued}
	return id
}

func (m *memory) edit(id string, f func(*task.Task)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.tasks[id])
}

func (m *memory) state(id string) task.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tasks[id].State
}

func (m *memory) Task(_ context.Context, id string) (task.Task, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return task.Task{}, err
	}
	if t := m.tasks[id]; t != nil {
		return *t, nil
	}
	return task.Task{}, store.ErrNotFound
}

func (m *memory) Cancel(_ context.Context, requests []store.CancelRequest) ([]store.CancelAnswer, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	var out []store.CancelAnswer
	for _, r := range requests {
		t := m.tasks[r.TaskID]
		if t == nil {
			out = append(out, store.CancelAnswer{})
			continue
		}
		if t.State == task.StateScheduled {
			t.State = task.StateCancelled
			out = append(out, store.CancelAnswer{Task: *t, Changed: true})
			continue
		}
		i := slices.IndexFunc(m.cancellations, func(c store.Cancellation) bool { return c.TaskID == t.ID && c.Run == t.Run })
		if i < 0 && !t.State.Terminal() {
			m.position++
			i = len(m.cancellations)
			m.cancellations = append(m.cancellations, store.Cancellation{
				TaskID: t.ID, Run: t.Run, Type: t.Type, Position: m.position, Reason: r.Reason, Time: r.Time.Truncate(time.Microsecond).UTC(),
			})
		}
		a := store.CancelAnswer{Task: *t}
		if i >= 0 {
			a.Outstanding = m.cancellations[i]
		}
		out = append(out, a)
	}
	return out, nil
}

func (m *memory) Cancellations(_ context.Context, after int64, limit int) ([]store.Cancellation, error) {
	unlock, err := m.lock()
	defer unlock()
	if m.reads > 0 {
		if m.reads--; m.reads == 0 {
			m.err = store.ErrUnavailable
		}
	}
	var out []store.Cancellation
	for _, c := range m.cancellations {
		if c.Position > after && len(out) < limit {
			out = append(out, c)
		}
	}
	return out, err
}

func (m *memory) CancelPosition(context.Context) (int64, error) {
	unlock, err := m.lock()
	defer unlock()
	return m.position, err
}

func (m *memory) ForgetCancellations(_ context.Context, seenBefore time.Time, limit int) ([]store.Cancellation, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	var gone []store.Cancellation
	m.cancellations = slices.DeleteFunc(m.cancellations, func(c store.Cancellation) bool {
		forget := !c.Seen.IsZero() && c.Seen.Before(seenBefore) && len(gone) < limit
		if forget {
			gone = append(gone, c)
		}
		return forget
	})
	return gone, nil
}

// see notes that the message of a task was seen.
func (m *memory) see(id string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.cancellations {
		if m.cancellations[i].TaskID == id {
			m.cancellations[i].Seen = at
		}
	}
}

// once says whether something is set, and unsets it.
func (m *memory) once(what *bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := *what
	*what = false
	return was
}

func (m *memory) set(what *bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*what = true
}

func (m *memory) PutControl(ctx context.Context, c store.Control) error {
	if m.beforePut != nil {
		m.beforePut()
	}
	if m.once(&m.hangPut) {
		<-ctx.Done()
		return ctx.Err()
	}
	if m.once(&m.stale) {
		m.set(&m.hangRead)
		return store.ErrChanged
	}
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return err
	}
	key := settingKey{c.TaskType, c.WorkerID}
	if m.controls[key].Version != c.Version-1 {
		return store.ErrChanged
	}
	m.controls[key] = c
	return nil
}

func (m *memory) Controls(ctx context.Context) ([]store.Control, error) {
	if m.once(&m.hangRead) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	unlock, err := m.lock()
	defer unlock()
	var out []store.Control
	for _, c := range m.controls {
		out = append(out, c)
	}
	return out, err
}

func (m *memory) PutWorkers(_ context.Context, workers []store.WorkerRecord) error {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return err
	}
	for _, w := range workers {
		m.workers[w.ID] = w
	}
	return nil
}

func (m *memory) Workers(context.Context) ([]store.WorkerRecord, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []store.WorkerRecord
	for _, w := range m.workers {
		out = append(out, w)
	}
	return out, err
}

func (m *memory) record(id string) store.WorkerRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.workers[id]
}

func (m *memory) ForgetWorkers(_ context.Context, seenBefore time.Time) error {
	unlock, err := m.lock()
	defer unlock()
	for id, w := range m.workers {
		if w.Seen.Before(seenBefore) {
			delete(m.workers, id)
		}
	}
	return err
}

func (m *memory) Queued(context.Context, string) (int64, time.Time, bool, error) {
	return 0, time.Time{}, false, store.ErrUnavailable
}

// bench is a control with what it works with.
type bench struct {
	*Control
	store *memory

	mu sync.Mutex
	// told are the messages to each worker, toldTypes the types that were told.
	told      map[string][]*brokerv1.ControlMessage
	toldTypes []string
	sendErr   error
	// deliver stands for the control queues, if it is set.
	deliver func(workerID string, m *brokerv1.ControlMessage)
	// applying is told of what is applied.
	applying func(events []task.Event)
	// live are the workers that apply what they are told and say so.
	live map[string]*player
	// behind is what the projection answers, before runs when it is asked.
	behind error
	before func()
	woken  []string
	// ready is the backlog, negative for unknown.
	ready int64
	// provisional has policies be so.
	provisional bool
	// blind says that control queues can't be looked at, unread which have no consumer,
	// away which are out of reach.
	blind        bool
	unread, away map[target]bool
	// unknown is a task type without a policy.
	unknown string
}

func newBench(m *memory) *bench {
	b := &bench{store: m, told: map[string][]*brokerv1.ControlMessage{}, live: map[string]*player{}, ready: -1}
	b.Control = New(Config{
		GatewayID: "g-1", Store: m, Controller: b, Topology: b, Projection: b, Policies: b.policies,
		Tell: func(_ context.Context, taskType string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.toldTypes = append(b.toldTypes, taskType)
			return b.sendErr
		},
		Backlog: func(context.Context, string) (int64, bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.ready, b.ready >= 0
		},
		Logger: quiet(),
	})
	b.lookAt = b.lookAtFakes
	return b
}

// start runs it until the test ends.
func (b *bench) start(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b.Listening(time.Now())
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func (b *bench) policies(workerID string, types []string) []*brokerv1.TypePolicy {
	var out []*brokerv1.TypePolicy
	for _, name := range types {
		if name == b.unknown {
			continue
		}
		p := &brokerv1.TypePolicy{Type: name, Provisional: b.provisional}
		b.Decorate(workerID, p)
		out = append(out, p)
	}
	return out
}

func (b *bench) PublishControl(_ context.Context, workerID string, m *brokerv1.ControlMessage) error {
	if b.deliver != nil {
		b.store.rest()
		b.deliver(workerID, m)
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sendErr != nil {
		return b.sendErr
	}
	b.told[workerID] = append(b.told[workerID], m)
	if p := b.live[workerID]; p != nil {
		p.hear(m)
	}
	return nil
}

// lookAtFakes has a consumer at each queue, but for those that are unread.
func (b *bench) lookAtFakes(_ context.Context, targets []target) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blind {
		return 0, fmt.Errorf("no broker")
	}
	for _, at := range targets {
		if b.away[at] {
			b.missed(at, time.Now())
			continue
		}
		consumers := 1
		if b.unread[at] {
			consumers = 0
		}
		b.saw(at, consumers, time.Now())
	}
	return len(targets), nil
}

// nobodyReads says which control queues nobody reads, from now on.
func (b *bench) nobodyReads(queues ...target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread = map[target]bool{}
	for _, at := range queues {
		b.unread[at] = true
	}
}

// Do fails: there is no broker.
func (b *bench) Do(context.Context, func(*broker.Topology) error) error {
	return fmt.Errorf("no broker")
}

func (b *bench) CatchUpWithin(context.Context, time.Duration) error {
	b.mu.Lock()
	before, err := b.before, b.behind
	b.mu.Unlock()
	if before != nil {
		before()
	}
	return err
}

func (b *bench) Apply(_ context.Context, events []task.Event) error {
	unlock, err := b.store.lock()
	defer unlock()
	if err != nil {
		return err
	}
	if b.applying != nil {
		b.applying(events)
	}
	for i := range events {
		b.store.tasks[events[i].TaskID].Apply(&events[i])
	}
	return nil
}

func (b *bench) Cancelled(_ context.Context, t *task.Task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.woken = append(b.woken, t.ID)
}

// cancel cancels tasks.
func (b *bench) cancel(t testing.TB, ids ...string) []store.CancelAnswer {
	t.Helper()
	answers, err := b.Cancel(t.Context(), ids, "a test")
	require.NoError(t, err)
	return answers
}

// messages are what a worker was told since the last call.
func (b *bench) messages(workerID string) []*brokerv1.ControlMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.told[workerID]
	delete(b.told, workerID)
	return out
}

// beatOf is a worker's heartbeat.
func beatOf(workerID string, position int64, types ...string) *brokerv1.Heartbeat {
	h := &brokerv1.Heartbeat{Worker: &brokerv1.WorkerIdentity{WorkerId: workerID, Host: "host-3"}, CancelPosition: position, Control: 1}
	for _, name := range types {
		h.Types = append(h.Types, &brokerv1.TypeLoad{Type: name, Concurrency: 4, Configured: 4})
	}
	return h
}

func syncOf(workerID string, control int32, types ...string) *brokerv1.WorkerRequest {
	return &brokerv1.WorkerRequest{
		Worker: &brokerv1.WorkerIdentity{WorkerId: workerID, Host: "host-3"}, RequestId: "r-1",
		Request: &brokerv1.WorkerRequest_Sync{Sync: &brokerv1.SyncRequest{Types: types, Control: control}},
	}
}

// player plays a worker: it learns what it is told.
type player struct {
	position int64
	known    map[uuid.UUID]bool
	synced   bool
}

func newPlayer() *player { return &player{known: map[uuid.UUID]bool{}} }

func (p *player) hear(m *brokerv1.ControlMessage) {
	batch := m.GetCancellations()
	if batch == nil || batch.After != 0 && batch.After != p.position {
		return
	}
	if batch.After == 0 {
		p.known, p.synced = map[uuid.UUID]bool{}, false
	}
	for _, e := range batch.Entries {
		p.known[uuid.UUID(e.TaskId)] = true
	}
	for _, e := range batch.Forget {
		delete(p.known, uuid.UUID(e.TaskId))
	}
	p.position = batch.Position
	p.synced = p.synced || batch.Complete
}

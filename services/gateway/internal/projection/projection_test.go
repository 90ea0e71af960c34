//go:build unix

package projection_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// moody is a real store that refuses events of some tasks, and that fails as
// often as it is told.
type moody struct {
	store.Store
	mu      sync.Mutex
	bad     map[string]bool
	failing []error
	calls   int
	called  chan struct{}
	// faulty is a task on whose events it fails without a name for it, sick
	// whether it says that it does not work at all.
	faulty string
	sick   bool
}

func (m *moody) Check(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sick {
		return store.ErrUnavailable
	}
	return m.Store.Check(ctx)
}

func (m *moody) Apply(ctx context.Context, events []task.Event) ([]store.Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	select {
	case m.called <- struct{}{}:
	default:
	}
	if len(m.failing) > 0 {
		err := m.failing[0]
		m.failing = m.failing[1:]
		return nil, err
	}
	if slices.ContainsFunc(events, func(e task.Event) bool { return m.bad[e.TaskID] }) {
		return nil, fmt.Errorf("%w: a test's", store.ErrBadEvent)
	}
	if slices.ContainsFunc(events, func(e task.Event) bool { return m.faulty == e.TaskID }) {
		return nil, errors.New("corrupt")
	}
	return m.Store.Apply(ctx, events)
}

func newStore(t testing.TB) *moody {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &moody{Store: s, bad: map[string]bool{}, called: make(chan struct{}, 1)}
}

// lot is where messages are set aside. It fails as often as it is told.
type lot struct {
	mu       sync.Mutex
	bodies   [][]byte
	problems []string
	failing  int
	tried    chan struct{}
}

var errNoBroker = errors.New("no broker")

func (l *lot) PublishParked(_ context.Context, body []byte, problem string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.tried <- struct{}{}:
	default:
	}
	if l.failing > 0 {
		l.failing--
		return errNoBroker
	}
	l.bodies, l.problems = append(l.bodies, body), append(l.problems, problem)
	return nil
}

func (l *lot) fail(times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing = times
}

func event(id string, phase task.Phase) task.Event {
	e := task.Event{
		TaskID: id, Type: "a.v1.A.B", Time: time.UnixMicro(1e15).UTC(),
		Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: phase, Copy: task.Copy{1}},
	}
	if phase == task.PhaseQueued {
		e.Key.Delivery = 0
	}
	return e
}

func encode(t testing.TB, e task.Event) []byte {
	t.Helper()
	b, err := broker.EncodeEvent(&e)
	require.NoError(t, err)
	return b
}

func message(t testing.TB, events [][]byte, markers ...string) broker.Delivery {
	t.Helper()
	b, err := proto.Marshal(&brokerv1.StatusBatch{Events: events, Markers: markers})
	require.NoError(t, err)
	return broker.Delivery{Body: b}
}

func woken(s *watch.Subscription) bool {
	select {
	case <-s.C:
		return true
	default:
		return false
	}
}

func TestHandleAppliesAndWakes(t *testing.T) {
	t.Parallel()
	s, parked, hub := newStore(t), &lot{}, watch.NewHub()
	p := projection.New(s, hub, parked, nil, quiet())
	a, b := task.NewID(), task.NewID()
	subA, subB, other := hub.Subscribe(a), hub.Subscribe(b), hub.Subscribe(task.NewID())
	batch := []broker.Delivery{
		message(t, [][]byte{encode(t, event(a, task.PhaseQueued)), encode(t, event(b, task.PhaseQueued))}),
		message(t, nil),
		message(t, [][]byte{encode(t, event(a, task.PhaseStarted)), encode(t, event(a, task.PhaseSucceeded))}),
	}
	require.NoError(t, p.Handle(t.Context(), batch))
	require.Equal(t, 1, s.calls, "one transaction")
	got, err := s.Task(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, task.StateSucceeded, got.State)
	require.EqualValues(t, 3, got.Version)
	require.True(t, woken(subA))
	require.True(t, woken(subB))
	require.False(t, woken(other))

	// The same again changes nothing, and so wakes nobody.
	require.NoError(t, p.Handle(t.Context(), batch))
	require.False(t, woken(subA))
	require.Empty(t, parked.bodies)
}

func TestBisectingParksExactlyTheBadEvents(t *testing.T) {
	t.Parallel()
	const n = 9
	for name, bad := range map[string][]int{
		"first": {0}, "last": {n - 1}, "middle": {4}, "two apart": {2, 7}, "neighbours": {3, 4}, "all": {0, 1, 2, 3, 4, 5, 6, 7, 8},
	} {
		t.Run(name, func(t *testing.T) {
			s, parked, hub := newStore(t), &lot{}, watch.NewHub()
			var batch []broker.Delivery
			var want [][]byte
			var good, bads []string
			// A task whose events lie around the bad ones stays in order.
			around := task.NewID()
			batch = append(batch, message(t, [][]byte{encode(t, event(around, task.PhaseQueued))}))
			for i := range n {
				id := task.NewID()
				encoded := encode(t, event(id, task.PhaseQueued))
				if slices.Contains(bad, i) {
					s.bad[id] = true
					want, bads = append(want, encoded), append(bads, id)
				} else {
					good = append(good, id)
				}
				batch = append(batch, message(t, [][]byte{encoded}))
			}
			batch = append(batch, message(t, [][]byte{encode(t, event(around, task.PhaseStarted))}))
			sub := hub.Subscribe(around)
			p := projection.New(s, hub, parked, nil, quiet())
			require.NoError(t, p.Handle(t.Context(), batch))

			require.Equal(t, want, parked.bodies)
			for _, problem := range parked.problems {
				require.Contains(t, problem, "a test's")
			}
			for _, id := range good {
				_, err := s.Task(t.Context(), id)
				require.NoError(t, err)
			}
			for _, id := range bads {
				_, err := s.Task(t.Context(), id)
				require.ErrorIs(t, err, store.ErrNotFound)
			}
			events, err := s.Events(t.Context(), around, 0, 10, false)
			require.NoError(t, err)
			require.Len(t, events, 2)
			require.Equal(t, task.PhaseQueued, events[0].Key.Phase)
			require.Equal(t, task.PhaseStarted, events[1].Key.Phase)
			require.True(t, woken(sub))
		})
	}
}

func TestUndecodableIsParked(t *testing.T) {
	t.Parallel()
	s, parked := newStore(t), &lot{}
	p := projection.New(s, watch.NewHub(), parked, nil, quiet())
	garbage := []byte{0x0a, 0x05, 'x'}
	noCopy, err := proto.Marshal(&brokerv1.StatusEvent{TaskId: task.NewID(), Type: "a.v1.A.B", Run: 1, Attempt: 1, Phase: brokerv1.Phase_PHASE_QUEUED})
	require.NoError(t, err)
	noTask := encode(t, event("not an id", task.PhaseQueued))
	id := task.NewID()
	require.NoError(t, p.Handle(t.Context(), []broker.Delivery{
		{Body: garbage},
		message(t, [][]byte{noCopy, encode(t, event(id, task.PhaseQueued)), garbage, noTask}),
		message(t, [][]byte{encode(t, event(id, task.PhaseSucceeded))}),
	}))
	require.Equal(t, [][]byte{garbage, noCopy, garbage, noTask}, parked.bodies, "a whole batch, or an event alone")
	for _, problem := range parked.problems {
		require.NotEmpty(t, problem)
	}
	got, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, task.StateSucceeded, got.State)
}

func TestParkingIsTriedUntilItIsDone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	bad, good := task.NewID(), task.NewID()
	s.bad[bad] = true
	for name, batch := range map[string][]broker.Delivery{
		"batch": {{Body: []byte{0x0a, 0x05, 'x'}}},
		"event": {message(t, [][]byte{{0x0a, 0x05, 'x'}})},
		"bad":   {message(t, [][]byte{encode(t, event(good, task.PhaseQueued)), encode(t, event(bad, task.PhaseQueued))})},
	} {
		parked := &lot{failing: 3}
		p := projection.New(s, watch.NewHub(), parked, nil, quiet())
		require.NoError(t, p.Handle(t.Context(), batch), name)
		require.Len(t, parked.bodies, 1, name)
	}
	got, err := s.Task(t.Context(), good)
	require.NoError(t, err)
	require.EqualValues(t, 1, got.Version)
}

func TestNothingIsAcknowledgedThatCouldNotBeParked(t *testing.T) {
	t.Parallel()
	s, parked := newStore(t), &lot{failing: 1 << 30, tried: make(chan struct{}, 1)}
	p := projection.New(s, watch.NewHub(), parked, nil, quiet())
	id := task.NewID()
	batch := []broker.Delivery{{Body: []byte{0x0a, 0x05, 'x'}}, message(t, [][]byte{encode(t, event(id, task.PhaseQueued))})}
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the connection was lost")
	ended := make(chan error, 1)
	go func() { ended <- p.Handle(ctx, batch) }()
	<-parked.tried
	cancel(lost)
	require.ErrorIs(t, <-ended, lost)
	// It comes again.
	parked.fail(0)
	require.NoError(t, p.Handle(t.Context(), batch))
	require.Len(t, parked.bodies, 1)
	got, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	require.EqualValues(t, 1, got.Version)
}

func TestBisectingTakesFewTransactions(t *testing.T) {
	t.Parallel()
	s, parked := newStore(t), &lot{}
	var events [][]byte
	for i := range 64 {
		id := task.NewID()
		s.bad[id] = i == 41
		events = append(events, encode(t, event(id, task.PhaseQueued)))
	}
	require.NoError(t, projection.New(s, watch.NewHub(), parked, nil, quiet()).Handle(t.Context(), []broker.Delivery{message(t, events)}))
	require.Equal(t, [][]byte{events[41]}, parked.bodies)
	require.LessOrEqual(t, s.calls, 1+2*6)
}

// A fault that has no name may lie with one event, which must not hold up all
// others for ever.
func TestEventThatTheStoreFailsOnIsParked(t *testing.T) {
	t.Parallel()
	s, parked := newStore(t), &lot{}
	var events [][]byte
	var ids []string
	for range 8 {
		ids = append(ids, task.NewID())
		events = append(events, encode(t, event(ids[len(ids)-1], task.PhaseQueued)))
	}
	s.faulty = ids[3]
	require.NoError(t, projection.New(s, watch.NewHub(), parked, nil, quiet()).Handle(t.Context(), []broker.Delivery{message(t, events)}))
	require.Equal(t, [][]byte{events[3]}, parked.bodies)
	require.Contains(t, parked.problems[0], "corrupt")
	for i, id := range ids {
		if i != 3 {
			_, err := s.Task(t.Context(), id)
			require.NoError(t, err)
		}
	}
}

// But a store that does not work otherwise either loses nothing.
func TestNothingIsParkedWhileTheStoreFailsOnEverything(t *testing.T) {
	t.Parallel()
	s, parked := newStore(t), &lot{}
	id := task.NewID()
	s.faulty, s.sick = id, true
	p := projection.New(s, watch.NewHub(), parked, nil, quiet())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Handle(t.Context(), []broker.Delivery{message(t, [][]byte{encode(t, event(id, task.PhaseQueued))})})
	}()
	for range 8 {
		<-s.called
	}
	s.mu.Lock()
	s.faulty = ""
	s.mu.Unlock()
	require.NoError(t, <-ended)
	require.Empty(t, parked.bodies)
	_, err := s.Task(t.Context(), id)
	require.NoError(t, err)
}

func TestUnavailableStoreIsWaitedFor(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s, parked := newStore(t), &lot{}
	// What the engine can't name is no reason to lose an event either.
	s.failing = []error{fmt.Errorf("%w: locked", store.ErrUnavailable), errors.New("no idea"), fmt.Errorf("%w: full", store.ErrUnavailable)}
	p := projection.New(s, watch.NewHub(), parked, nil, slog.New(slog.NewTextHandler(&out, nil)))
	id := task.NewID()
	require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, [][]byte{encode(t, event(id, task.PhaseQueued))})}))
	require.Equal(t, 4, s.calls)
	_, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, parked.bodies)
	require.Contains(t, out.String(), "locked")
	require.NotContains(t, out.String(), "no idea", "an outage is logged once")
	require.Contains(t, out.String(), "the store works again")
}

// faulty is a store with a fault of no kind that its contract names, in the rows
// of some tasks or in all of it.
type faulty struct {
	*moody
	bad   map[string]bool
	check error
	tries map[string]int
}

func (f *faulty) Apply(ctx context.Context, events []task.Event) ([]store.Change, error) {
	if i := slices.IndexFunc(events, func(e task.Event) bool { return f.bad[e.TaskID] }); i >= 0 {
		if len(events) == 1 {
			f.tries[events[0].TaskID]++
		}
		return nil, errors.New("the row is not decodable")
	}
	return f.moody.Apply(ctx, events)
}

func (f *faulty) Check(context.Context) error { return f.check }

func TestAFaultOfOneTaskDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s, parked := &faulty{moody: newStore(t), bad: map[string]bool{}, tries: map[string]int{}}, &lot{}
	p := projection.New(s, watch.NewHub(), parked, nil, slog.New(slog.NewTextHandler(&out, nil)))
	bad := task.NewID()
	s.bad[bad] = true
	ids := []string{task.NewID(), bad, task.NewID()}
	var events [][]byte
	for _, id := range ids {
		events = append(events, encode(t, event(id, task.PhaseQueued)))
	}
	require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, events)}))
	require.Equal(t, [][]byte{events[1]}, parked.bodies)
	require.Contains(t, parked.problems[0], "the row is not decodable")
	require.Contains(t, out.String(), "the row is not decodable", "it is never silent")
	require.Greater(t, s.tries[bad], 1, "it might have passed")
	for _, id := range []string{ids[0], ids[2]} {
		_, err := s.Task(t.Context(), id)
		require.NoError(t, err)
	}
}

func TestAFaultOfTheWholeStoreIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		id, parked := task.NewID(), &lot{}
		s := &faulty{bad: map[string]bool{id: true}, tries: map[string]int{}, check: errors.New("corrupt")}
		p := projection.New(s, watch.NewHub(), parked, nil, slog.New(slog.NewTextHandler(&out, nil)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, p.Handle(ctx, []broker.Delivery{message(t, [][]byte{encode(t, event(id, task.PhaseQueued))})}), context.DeadlineExceeded)
		require.Empty(t, parked.bodies)
		require.Greater(t, s.tries[id], 50)
		lines := strings.Count(out.String(), "\n")
		require.Greater(t, lines, 3, "it is said again and again")
		require.Less(t, lines, 10, "but not each time")
	})
}

// Parking comes after all else is stored.
func TestParkingIsLast(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	good, bad := task.NewID(), task.NewID()
	s.bad[bad] = true
	parked := parkFunc(func(ctx context.Context) error {
		_, err := s.Task(t.Context(), good)
		require.NoError(t, err)
		_, bounded := ctx.Deadline()
		require.True(t, bounded)
		cancel()
		return errors.New("no broker")
	})
	p := projection.New(s, watch.NewHub(), parked, nil, quiet())
	batch := []broker.Delivery{{Body: []byte{0x0a, 0x05, 'x'}}, message(t, [][]byte{encode(t, event(bad, task.PhaseQueued)), encode(t, event(good, task.PhaseQueued))})}
	require.ErrorIs(t, p.Handle(ctx, batch), context.Canceled)
}

type parkFunc func(context.Context) error

func (f parkFunc) PublishParked(ctx context.Context, _ []byte, _ string) error { return f(ctx) }

func TestWaitForTheStoreEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for range 1000 {
		s.failing = append(s.failing, store.ErrUnavailable)
	}
	p := projection.New(s, watch.NewHub(), &lot{}, nil, quiet())
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the connection was lost")
	ended := make(chan error, 1)
	go func() {
		ended <- p.Handle(ctx, []broker.Delivery{message(t, [][]byte{encode(t, event(task.NewID(), task.PhaseQueued))})})
	}()
	<-s.called
	cancel(lost)
	require.ErrorIs(t, <-ended, lost, "so that the batch is not acknowledged")
}

func TestSubscription(t *testing.T) {
	t.Parallel()
	s := projection.New(newStore(t), watch.NewHub(), &lot{}, nil, quiet()).Subscription(broker.Names{Namespace: "n"})
	require.Equal(t, "n.status", s.Queue)
	require.Nil(t, s.Declare)
	require.GreaterOrEqual(t, s.Prefetch, s.MaxBatch, "a full batch can gather")
	require.NotNil(t, s.Handle)
}

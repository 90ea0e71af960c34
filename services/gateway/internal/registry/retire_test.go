package registry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	echoA = "acme.v1.Echoes.A"
	echoB = "acme.v1.Echoes.B"
)

func (f *fixture) retireType(t testing.TB, taskType string, free func(context.Context) error) error {
	t.Helper()
	found, err := f.Retire(t.Context(), store.Retirement{TaskType: taskType, Reason: "a test", Time: time.Now().UTC().Truncate(time.Microsecond)}, free)
	require.True(t, found)
	return err
}

func allFree(context.Context) error { return nil }

func (f *fixture) names() []string {
	var out []string
	for _, t := range f.cfg.Catalogue.Types() {
		out = append(out, t.Name)
	}
	return out
}

// restarted is another gateway on the same store.
func restarted(t testing.TB, s *outage) *fixture {
	t.Helper()
	f := newFixture(t, s)
	f.load(t.Context())
	require.True(t, f.Loaded())
	require.NoError(t, f.types.Refresh(t.Context()))
	return f
}

func TestATypeIsRetired(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f, other := newFixture(t, s), newFixture(t, s)
	both := release(t, "v1", "A", "B")
	start := time.Now().Add(-time.Hour)
	f.registerStarted(t, start, both)
	other.load(t.Context())
	require.NoError(t, other.types.Refresh(t.Context()))
	require.Equal(t, []string{echoA, echoB}, other.names())

	found, err := f.Retire(t.Context(), store.Retirement{TaskType: "acme.v1.Echoes.No"}, allFree)
	require.False(t, found)
	require.NoError(t, err)
	require.NoError(t, f.retireType(t, echoA, func(context.Context) error {
		require.Equal(t, []string{echoB}, f.names(), "nobody submits any more while it is looked at")
		return nil
	}))
	require.NoError(t, other.types.Refresh(t.Context()))
	for _, g := range []*fixture{f, other, restarted(t, s)} {
		require.Equal(t, []string{echoB}, g.names())
		require.Equal(t, []string{"acme.v1.Echoes"}, g.cfg.Catalogue.Services())
	}
	shown, ok := other.cfg.Catalogue.Retired(echoA)
	require.True(t, ok)
	require.EqualValues(t, "acme.v1.Echo", shown.Input.FullName())

	require.NoError(t, f.retireType(t, echoB, allFree))
	require.NoError(t, other.types.Refresh(t.Context()))
	for _, g := range []*fixture{f, other, restarted(t, s)} {
		require.Empty(t, g.names())
		require.Empty(t, g.cfg.Catalogue.Services())
	}
	bundles, err := s.Bundles(t.Context())
	require.NoError(t, err)
	require.Empty(t, bundles)
	require.Empty(t, f.accepted)

	// The very worker comes back that had them, and then even another version may.
	require.Len(t, f.registerStarted(t, start, both).Types, 2)
	for _, g := range []*fixture{f, restarted(t, s)} {
		require.Equal(t, []string{echoA, echoB}, g.names())
	}
	retired, err := s.Retirements(t.Context())
	require.NoError(t, err)
	require.Empty(t, retired)
}

func TestARetirementThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := newFixture(t, s)
	f.register(t, release(t, "v1", "A", "B"))
	unchanged := func() {
		t.Helper()
		for _, g := range []*fixture{f, restarted(t, s)} {
			require.Equal(t, []string{echoA, echoB}, g.names())
		}
		require.NotEmpty(t, f.accepted)
	}
	busy := errors.New("in use")
	require.ErrorIs(t, f.retireType(t, echoA, func(context.Context) error { return busy }), busy)
	unchanged()

	f.topology.err = errors.New("no connection")
	require.ErrorIs(t, f.retireType(t, echoA, allFree), f.topology.err)
	f.topology.err = nil
	unchanged()

	found, err := f.Retire(t.Context(), store.Retirement{TaskType: echoA, Version: 7, Time: time.Now()}, allFree)
	require.True(t, found)
	require.ErrorIs(t, err, store.ErrChanged)
	unchanged()

	// What the store does not have yet would bring it back.
	s.set(fmt.Errorf("%w: locked", store.ErrUnavailable))
	f.register(t, announcement(t, "demo.v1.ImageService"))
	require.ErrorIs(t, f.retireType(t, echoA, allFree), store.ErrUnavailable)
	s.set(nil)
	require.NoError(t, f.retireType(t, echoA, allFree))
	require.NotContains(t, restarted(t, s).names(), echoA)
	require.Contains(t, restarted(t, s).names(), "demo.v1.ImageService.Thumbnail")
}

func TestTheQueueOfARetiredTypeGoes(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	o := connect(t, b, newStore(t))
	o.start(t)
	o.register(t, release(t, "v1", "A", "B"))
	queueA, queueB := o.names.Work(echoA), o.names.Work(echoB)
	ch := b.Channel(t)
	_, err := ch.Consume(queueA, "c", false, false, false, false, nil)
	require.NoError(t, err)
	require.ErrorIs(t, o.retireType(t, echoA, allFree), broker.ErrInUse)
	bound := false
	for _, binding := range b.Bindings(t) {
		bound = bound || binding.Destination == queueA && binding.Source == o.names.Tasks()
	}
	require.True(t, bound, "it takes tasks again")
	require.NoError(t, ch.Cancel("c", false))

	require.NoError(t, o.retireType(t, echoA, allFree))
	left := queues(t, b)
	require.NotContains(t, left, queueA)
	require.Contains(t, left, queueB)
	o.declareKnown(t.Context())
	require.NotContains(t, queues(t, b), queueA)
	o.register(t, release(t, "v1", "A", "B"))
	require.Contains(t, queues(t, b), queueA)
}

// Whoever had a queue in hand meanwhile does not bring it back.
func TestNobodyDeclaresTheQueueOfARetiredType(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	o := connect(t, b, newStore(t))
	o.start(t)
	o.load(t.Context())
	o.register(t, release(t, "v1", "A", "B"))
	before := o.cfg.Catalogue.Types()
	require.NoError(t, o.retireType(t, echoA, func(ctx context.Context) error {
		require.ErrorIs(t, o.Redeclare(ctx, echoA), store.ErrRetired)
		_, err := o.declareTypes(ctx, before)
		require.NoError(t, err)
		for _, binding := range b.Bindings(t) {
			require.False(t, binding.Destination == o.names.Work(echoA) && binding.Source == o.names.Tasks())
		}
		return nil
	}))
	require.ErrorIs(t, o.Redeclare(t.Context(), echoA), store.ErrRetired)
	require.NotContains(t, queues(t, b), o.names.Work(echoA))
	_, err := b.Channel(t).QueueDelete(o.names.Work(echoB), false, false, false)
	require.NoError(t, err)
	require.NoError(t, o.Redeclare(t.Context(), echoB))
	require.Contains(t, queues(t, b), o.names.Work(echoB))
}

// A worker that registers while a type is being retired brings it back, queue included.
func TestARegistrationDuringARetirementHasItsQueue(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	o := connect(t, b, newStore(t))
	o.start(t)
	o.load(t.Context())
	both := release(t, "v1", "A", "B")
	o.register(t, both)
	_, err := b.Channel(t).QueueDelete(o.names.Work(echoB), false, false, false)
	require.NoError(t, err)
	again := request(t, both)
	handled := make(chan error, 1)
	require.NoError(t, o.retireType(t, echoA, func(ctx context.Context) error {
		require.NoError(t, o.Requests().Handle(ctx, []broker.Delivery{again}))
		waiting := <-o.registrations
		go func() {
			o.serveRegistration(ctx, waiting)
			handled <- nil
		}()
		// It has declared what it may, and waits for the retirement.
		brokertest.Eventually(t, 30*time.Second, func() bool { return queues(t, b)[o.names.Work(echoB)] })
		return nil
	}))
	require.NoError(t, <-handled)
	_, known := o.cfg.Catalogue.Type(echoA)
	require.True(t, known)
	require.Contains(t, queues(t, b), o.names.Work(echoA))
}

// The store has done it, but its answer was an error.
func TestARetirementThatIsStoredStands(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := newFixture(t, s)
	f.register(t, release(t, "v1", "A", "B"))
	s.lost = fmt.Errorf("%w: the answer was lost", store.ErrUnavailable)
	require.NoError(t, f.retireType(t, echoA, allFree))
	require.Equal(t, []string{echoB}, f.names())
	require.Equal(t, []string{echoB}, restarted(t, s).names())
}

// A gateway that could not read the store lets a retired type in again; it is not
// forgotten before the store has heard of it.
func TestATypeThatIsNotStoredYetIsNotForgotten(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := newFixture(t, s)
	first.register(t, release(t, "v1", "A", "B"))
	require.NoError(t, first.retireType(t, echoA, allFree))

	f := newFixture(t, s)
	f.types.LetIn(f.Undisturbed)
	s.set(fmt.Errorf("%w: locked", store.ErrUnavailable))
	f.register(t, release(t, "v1", "A", "B"))
	both := []string{echoA, echoB}
	for range 2 {
		require.NoError(t, f.types.Refresh(t.Context()))
		require.Equal(t, both, f.names())
	}
	// Nothing is taken out while somebody else is let in.
	f.taking.Lock()
	require.NoError(t, f.types.Refresh(t.Context()))
	f.taking.Unlock()
	s.set(nil)
	f.save(t.Context())
	require.NoError(t, f.types.Refresh(t.Context()))
	require.Equal(t, both, f.names())

	require.NoError(t, first.types.Refresh(t.Context()))
	first.register(t, release(t, "v1", "A", "B"))
	require.NoError(t, first.retireType(t, echoA, allFree))
	require.NoError(t, f.types.Refresh(t.Context()))
	require.Equal(t, []string{echoB}, f.names())
}

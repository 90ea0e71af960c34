//go:build unix

package projection_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// behind is how long a read waits.
const behind = 2 * time.Second

// forgotten is when nobody waits for a marker any more, nor does a timer run.
const forgotten = 15 * time.Second

// marks takes in markers. Their receipts are open until settle.
type marks struct {
	mu      sync.Mutex
	markers []string
	writers []*broker.StatusWriter
	failing error
}

func (m *marks) Mark(ctx context.Context, marker string) (*broker.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return nil, m.failing
	}
	cfg := broker.Config{Logger: quiet()}
	w := broker.NewStatusWriter(broker.NewPublisher(broker.NewConnection(cfg, "none", nil)))
	m.markers, m.writers = append(m.markers, marker), append(m.writers, w)
	return w.Mark(ctx, marker)
}

func (m *marks) sent() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.markers...)
}

// settle closes the receipt of a marker. That it failed does not matter.
func (m *marks) settle(i int) {
	m.mu.Lock()
	w := m.writers[i]
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.Run(ctx)
}

// readers call CatchUp, each in a goroutine.
func readers(t testing.TB, p *projection.Projection, n int) chan error {
	t.Helper()
	out := make(chan error, n)
	for range n {
		go func() { out <- p.CatchUp(t.Context()) }()
	}
	return out
}

func TestOneMarkerServesMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &marks{}
		p := projection.New(nil, watch.NewHub(), &lot{}, m, quiet())
		first := readers(t, p, 1)
		synctest.Wait()
		require.Len(t, m.sent(), 1)
		// What these want to see may have come after the first marker.
		many := readers(t, p, 50)
		synctest.Wait()
		require.Len(t, m.sent(), 1, "the next is sent once this one is on its way")

		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()[0], "another gateway's")}))
		synctest.Wait()
		require.NoError(t, <-first)
		require.Empty(t, many, "an earlier marker does not serve them")

		m.settle(0)
		synctest.Wait()
		require.Len(t, m.sent(), 2)
		m.settle(1)
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()[1])}))
		synctest.Wait()
		for range 50 {
			require.NoError(t, <-many)
		}
		require.Len(t, m.sent(), 2, "one for all of them")

		// A marker that comes twice is no harm.
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()...)}))
		// Let timers end before the bubble does.
		<-time.After(forgotten)
	})
}

func TestCatchUpSaysThatItIsBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &marks{}
		p := projection.New(nil, watch.NewHub(), &lot{}, m, quiet())
		begin := time.Now()
		require.ErrorIs(t, p.CatchUp(t.Context()), projection.ErrBehind)
		require.Equal(t, behind, time.Since(begin))
		<-time.After(forgotten)
		// The marker arrives when nobody waits any more; the next reader needs its own.
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()[0])}))
		next := readers(t, p, 1)
		synctest.Wait()
		require.Len(t, m.sent(), 2)
		m.settle(1)
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()[1])}))
		require.NoError(t, <-next)
		<-time.After(forgotten)
	})
}

func TestCatchUpWithinTheCallersBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &marks{}
		p := projection.New(nil, watch.NewHub(), &lot{}, m, quiet())
		within := func(d time.Duration) chan error {
			out := make(chan error, 1)
			go func() { out <- p.CatchUpWithin(t.Context(), d) }()
			synctest.Wait()
			return out
		}
		patient, impatient := within(8*time.Second), readers(t, p, 1)
		<-time.After(4 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, <-impatient, projection.ErrBehind)
		require.Empty(t, patient)
		// A marker that is not confirmed holds up the next as long as a read waits.
		late := within(8 * time.Second)
		require.Len(t, m.sent(), 3, "one for each")
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()[0])}))
		synctest.Wait()
		require.NoError(t, <-patient)
		require.Empty(t, late)
		<-time.After(8*time.Second - time.Millisecond)
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()[2])}))
		require.NoError(t, <-late)

		begin := time.Now()
		require.ErrorIs(t, p.CatchUpWithin(t.Context(), time.Hour), projection.ErrBehind)
		require.Equal(t, 10*time.Second, time.Since(begin), "nobody may wait for longer")
		<-time.After(forgotten)
	})
}

func TestCatchUpWithoutABroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &marks{failing: errors.New("stopped")}
		p := projection.New(nil, watch.NewHub(), &lot{}, m, quiet())
		require.ErrorIs(t, p.CatchUp(t.Context()), projection.ErrBehind)
		m.mu.Lock()
		m.failing = nil
		m.mu.Unlock()
		again := readers(t, p, 1)
		synctest.Wait()
		m.settle(0)
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()...)}))
		require.NoError(t, <-again)
		<-time.After(forgotten)
	})
}

func TestCatchUpEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &marks{}
		p := projection.New(nil, watch.NewHub(), &lot{}, m, quiet())
		ctx, cancel := context.WithTimeout(t.Context(), behind/2)
		defer cancel()
		err := p.CatchUp(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, projection.ErrBehind)
		<-time.After(forgotten)
	})
}

func TestMarkersPassOnlyAfterTheirBatchIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &marks{}
		parked := &lot{failing: 1}
		p := projection.New(nil, watch.NewHub(), parked, m, quiet())
		waiting := readers(t, p, 1)
		synctest.Wait()
		ended := make(chan error, 1)
		go func() {
			ended <- p.Handle(t.Context(), []broker.Delivery{message(t, nil, m.sent()...), {Body: []byte{0x0a, 0x05, 'x'}}})
		}()
		synctest.Wait()
		require.Empty(t, waiting, "part of the batch is in neither store nor queue")
		require.NoError(t, <-ended)
		require.NoError(t, <-waiting)
		<-time.After(forgotten)
	})
}

package later

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fakes stand for the broker. A type's answer says what becomes of its tasks.
type fakes struct {
	mu      sync.Mutex
	answers map[string]func(Task) error
	away    chan struct{}
	// published counts publishes by task, again those of which others may have been,
	// and at has their times.
	published, again map[string]int
	at               map[string]time.Time
	parked           []string
	told             []task.Event
}

func newFakes() *fakes {
	f := &fakes{answers: map[string]func(Task) error{}, away: make(chan struct{}), published: map[string]int{}, again: map[string]int{}, at: map[string]time.Time{}}
	close(f.away)
	return f
}

func (f *fakes) AwaitReady(ctx context.Context) error {
	select {
	case <-f.away:
		return nil
	case <-ctx.Done():
		return broker.ErrNotSent
	}
}

func (f *fakes) PublishDue(ctx context.Context, tasks []Task) []error {
	errs := make([]error, len(tasks))
	for i, t := range tasks {
		f.mu.Lock()
		answer := f.answers[t.Message.Type]
		f.mu.Unlock()
		if answer != nil {
			errs[i] = answer(t)
		}
		if errors.Is(errs[i], errHangs) {
			<-ctx.Done()
		}
		if errs[i] == nil {
			f.mu.Lock()
			f.published[t.Message.ID]++
			f.at[t.Message.ID] = time.Now()
			if t.Again {
				f.again[t.Message.ID]++
			}
			f.mu.Unlock()
		}
	}
	return errs
}

var errHangs = errors.New("no confirm comes")

func (f *fakes) PublishParked(_ context.Context, body []byte, problem string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parked = append(f.parked, problem)
	return nil
}

func (f *fakes) Tell(_ context.Context, e *task.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, *e)
	return nil
}

func (f *fakes) answer(taskType string, with func(Task) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[taskType] = with
}

func (f *fakes) count(ids ...string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if f.published[id] > 0 {
			n++
		}
	}
	return n
}

func newStore(t testing.TB) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// schedule keeps n tasks of a type for later, and gives their ids.
func schedule(t testing.TB, s store.Store, taskType string, at time.Time, n int) (ids []string) {
	t.Helper()
	var tasks []store.Scheduled
	for range n {
		m := &broker.TaskMessage{ID: task.NewID(), Type: taskType, Payload: []byte("p"), Run: 1, Copy: task.NewCopy(), CreateTime: time.Now(), Priority: 4}
		b, err := broker.EncodeTask(m)
		require.NoError(t, err)
		ids = append(ids, m.ID)
		tasks = append(tasks, store.Scheduled{Message: b, Event: task.Event{
			TaskID: m.ID, Type: taskType, Time: m.CreateTime, ScheduleTime: at, Payload: &task.Payload{Bytes: m.Payload, Size: 1, SHA256: []byte{1}},
			Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseScheduled, Copy: m.Copy}, Head: &task.Head{CreateTime: m.CreateTime, Priority: 4},
		}})
	}
	_, err := s.Schedule(t.Context(), tasks)
	require.NoError(t, err)
	return ids
}

// run runs a loop until stop is called, or the test ends.
func run(t testing.TB, cfg Config) (l *Loop, stop func()) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	l = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return l, stop
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

func left(t testing.TB, s store.Store) int64 {
	t.Helper()
	n, err := s.CountScheduled(context.Background(), "")
	require.NoError(t, err)
	return n
}

func TestTasksArePublishedInTime(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	begin := time.Now()
	far := schedule(t, s, "a", begin.Add(time.Hour), 1)
	l, _ := run(t, Config{Store: s, Publisher: f})
	soon := begin.Add(400 * time.Millisecond)
	ids := schedule(t, s, "a", soon, 3)
	l.Wake(soon)
	eventually(t, "published and forgotten", func() bool { return f.count(ids...) == 3 && left(t, s) == 1 })
	for _, id := range ids {
		require.WithinRange(t, f.at[id], soon, soon.Add(time.Second))
		require.Equal(t, 1, f.published[id])
		require.Zero(t, f.again[id])
	}
	require.Zero(t, f.count(far...))

	// Without a word it is noticed, too.
	ids = schedule(t, s, "a", time.Now(), 1)
	eventually(t, "noticed", func() bool { return f.count(ids...) == 1 })
}

// clock is one that tests turn.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) turn(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += by
}

func TestAClockThatJumps(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	c := &clock{}
	ids := schedule(t, s, "a", time.Now().Add(time.Hour), 1)
	later := schedule(t, s, "a", time.Now().Add(2*time.Hour), 1)
	run(t, Config{Store: s, Publisher: f, Clock: c.Now})
	c.turn(90 * time.Minute)
	eventually(t, "forwards", func() bool { return f.count(ids...) == 1 })
	c.turn(-80 * time.Minute)
	c.turn(115 * time.Minute)
	eventually(t, "back and forwards", func() bool { return f.count(later...) == 1 })
	require.Equal(t, 1, f.published[ids[0]])
}

func TestAQueueThatTakesNothingHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	room := make(chan struct{})
	f.answer("full", func(Task) error {
		select {
		case <-room:
			return nil
		default:
			return ErrFull
		}
	})
	f.answer("hangs", func(Task) error { return errHangs })
	past := time.Now().Add(-time.Minute)
	stuckOnes := schedule(t, s, "full", past, maxInLine+maxTake)
	schedule(t, s, "hangs", past, maxInLine+maxTake)
	ids := schedule(t, s, "moves", past.Add(time.Second), 500)
	l, _ := run(t, Config{Store: s, Publisher: f})
	eventually(t, "the others", func() bool { return f.count(ids...) == len(ids) })
	require.Zero(t, f.count(stuckOnes...))
	l.mu.Lock()
	require.LessOrEqual(t, len(l.held), maxHeld)
	for name, in := range l.lines {
		require.LessOrEqual(t, len(in.tasks), maxInLine+maxTake, name)
	}
	l.mu.Unlock()
	got, err := s.Task(t.Context(), stuckOnes[0])
	require.NoError(t, err)
	require.Equal(t, task.StateScheduled, got.State)
	close(room)
	eventually(t, "when there is room", func() bool { return f.count(stuckOnes...) == len(stuckOnes) })
	f.answer("hangs", nil)
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	var mu sync.Mutex
	tries := 0
	f.answer("a", func(Task) error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries == 1 {
			return fmt.Errorf("%w: lost", broker.ErrUnknown)
		}
		return nil
	})
	ids := schedule(t, s, "a", time.Now(), 1)
	run(t, Config{Store: s, Publisher: f})
	eventually(t, "again", func() bool { return left(t, s) == 0 })
	require.Equal(t, 1, f.published[ids[0]])
	require.Equal(t, 1, f.again[ids[0]], "it may have been published")
}

func TestNothingIsTakenWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	f.away = make(chan struct{})
	ids := schedule(t, s, "a", time.Now(), 1)
	l, _ := run(t, Config{Store: s, Publisher: f})
	l.Wake(time.Now())
	// It is leased to nobody: who asks gets it.
	due, _, err := s.TakeDue(t.Context(), time.Now(), time.Millisecond, 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	close(f.away)
	eventually(t, "published", func() bool { return f.count(ids...) == 1 })
	require.Equal(t, 1, f.again[ids[0]])
}

func TestAMessageThatCantBeDecodedBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	bad := schedule(t, s, "a", time.Now(), 1)[0]
	got, err := s.Task(t.Context(), bad)
	require.NoError(t, err)
	_, err = s.Update(t.Context(), got.Version, task.Event{
		TaskID: bad, Type: "a", Time: time.Now(), ScheduleTime: time.Now(), Head: &task.Head{CreateTime: time.Now(), Priority: 4},
		Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseUpdated, Sequence: 1},
	}, []byte("no message"))
	require.NoError(t, err)
	good := schedule(t, s, "a", time.Now(), 5)
	run(t, Config{Store: s, Publisher: f})
	eventually(t, "all are done with", func() bool { return left(t, s) == 0 })
	require.Equal(t, 5, f.count(good...))
	require.Zero(t, f.count(bad))
	require.Len(t, f.parked, 1)
	require.Contains(t, f.parked[0], bad)
	require.Len(t, f.told, 1)
	require.NoError(t, f.told[0].Validate())
	require.Equal(t, task.CauseUndecodable, f.told[0].Cause)
	_, err = s.Apply(t.Context(), f.told)
	require.NoError(t, err)
	got, err = s.Task(t.Context(), bad)
	require.NoError(t, err)
	require.Equal(t, task.StateDeadLettered, got.State)
}

// failing is a store that has outages.
type failing struct {
	Store
	mu sync.Mutex
	// unschedules and takes are how often it fails.
	unschedules, takes int
}

func (s *failing) Unschedule(ctx context.Context, ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unschedules > 0 {
		s.unschedules--
		return store.ErrUnavailable
	}
	return s.Store.Unschedule(ctx, ids)
}

func (s *failing) TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]store.Due, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.takes > 0 {
		s.takes--
		return nil, time.Time{}, store.ErrUnavailable
	}
	return s.Store.TakeDue(ctx, now, lease, limit)
}

func TestAStoreThatFails(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	ids := schedule(t, s, "a", time.Now(), 100)
	run(t, Config{Store: &failing{Store: s, takes: 3, unschedules: 3}, Publisher: f})
	eventually(t, "forgotten", func() bool { return left(t, s) == 0 })
	for _, id := range ids {
		require.Equal(t, 1, f.published[id])
	}
}

func TestALoopThatEndsLeavesItsLeases(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	c := &clock{}
	ids := schedule(t, s, "a", time.Now(), 10)
	_, stop := run(t, Config{Store: &failing{Store: s, unschedules: 1 << 30}, Publisher: f, Clock: c.Now})
	eventually(t, "published", func() bool { return f.count(ids...) == len(ids) })
	stop()
	require.EqualValues(t, len(ids), left(t, s))
	run(t, Config{Store: s, Publisher: f, Clock: c.Now})
	c.turn(lease)
	eventually(t, "published again", func() bool { return left(t, s) == 0 })
	for _, id := range ids {
		require.Equal(t, 2, f.published[id])
		require.Equal(t, 1, f.again[id])
	}
}

func TestLinesLetGoWhatIsLate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	in := &line{}
	for i := range maxTake + 100 {
		in.add(&held{Due: store.Due{TaskID: fmt.Sprint(i), Message: []byte("12")}, until: now.Add(time.Duration(i%2) * time.Second)})
	}
	require.Equal(t, 2*(maxTake+100), in.bytes)
	batch, late := in.take(now)
	require.Len(t, batch, (maxTake+100)/2)
	require.Len(t, late, (maxTake+100)/2)
	require.Empty(t, in.tasks)
	require.Zero(t, in.bytes)
}

package later

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/wake"
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
	// asked has a value when it was waited for what is away.
	asked chan struct{}
	// untold is how often telling fails.
	untold int
	// published counts publishes by task, again those of which others may have been,
	// and at has their times.
	published, again map[string]int
	at               map[string]time.Time
	parked           []string
	told             []task.Event
}

func newFakes() *fakes {
	f := &fakes{answers: map[string]func(Task) error{}, away: make(chan struct{}), asked: make(chan struct{}, 1), published: map[string]int{}, again: map[string]int{}, at: map[string]time.Time{}}
	close(f.away)
	return f
}

func (f *fakes) AwaitReady(ctx context.Context) error {
	wake.Signal(f.asked)
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
	if f.untold > 0 {
		f.untold--
		return broker.ErrUnknown
	}
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
	due := begin.Add(400 * time.Millisecond)
	ids := schedule(t, s, "a", due, 3)
	l.Wake(due)
	eventually(t, "published and forgotten", func() bool { return f.count(ids...) == 3 && left(t, s) == 1 })
	for _, id := range ids {
		require.WithinRange(t, f.at[id], due, due.Add(soon))
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
	first := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	second := first.Add(time.Hour)
	ids := schedule(t, s, "a", first, 1)
	later := schedule(t, s, "a", second, 1)
	taking := &takes{Store: s}
	run(t, Config{Store: taking, Publisher: f, Clock: c.Now})
	eventually(t, "it waits for the first", func() bool { return taking.awaits(first) })
	c.turn(90 * time.Minute)
	eventually(t, "forwards", func() bool { return f.count(ids...) == 1 })
	eventually(t, "it waits for the second", func() bool { return taking.awaits(second) })
	c.turn(-80 * time.Minute)
	eventually(t, "it sees that", func() bool { return taking.latest().Before(first) })
	require.Zero(t, f.count(later...))
	c.turn(115 * time.Minute)
	eventually(t, "back and forwards", func() bool { return f.count(later...) == 1 })
	require.Equal(t, 1, f.published[ids[0]])
}

// takes is a store that knows by which time tasks were last taken, and when the next
// ones are to be.
type takes struct {
	Store
	mu         sync.Mutex
	last, next time.Time
}

func (s *takes) TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int, most map[string]int) ([]store.Due, time.Time, error) {
	due, next, err := s.Store.TakeDue(ctx, now, lease, limit, most)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.next = now, next
	return due, next, err
}

func (s *takes) awaits(next time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next.Equal(next)
}

func (s *takes) latest() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// scheduleMany is schedule for more tasks than go into a transaction.
func scheduleMany(t testing.TB, s store.Store, taskType string, at time.Time, n int) (ids []string) {
	t.Helper()
	for len(ids) < n {
		ids = append(ids, schedule(t, s, taskType, at, min(n-len(ids), 5000))...)
	}
	return ids
}

// reached sees that tasks that become due now are published within a second.
func reached(t *testing.T, l *Loop, s store.Store, f *fakes, taskType string) {
	t.Helper()
	begin := time.Now()
	ids := schedule(t, s, taskType, begin, 50)
	l.Wake(begin)
	eventually(t, taskType, func() bool { return f.count(ids...) == len(ids) })
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		require.Less(t, f.at[id].Sub(begin), soon, taskType)
	}
}

// counting counts what is leased of a type.
type counting struct {
	Store
	taskType string
	leased   atomic.Int64
}

func (s *counting) TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int, most map[string]int) ([]store.Due, time.Time, error) {
	due, next, err := s.Store.TakeDue(ctx, now, lease, limit, most)
	for _, d := range due {
		if d.Type == s.taskType {
			s.leased.Add(1)
		}
	}
	return due, next, err
}

// Not parallel: it measures time.
func TestAQueueThatTakesNothingHoldsUpNoOther(t *testing.T) {
	s, f := newStore(t), newFakes()
	f.answer("full", func(Task) error { return ErrFull })
	f.answer("hangs", func(Task) error { return errHangs })
	slow := make(chan struct{})
	f.answer("slow", func(Task) error {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-slow:
		}
		return nil
	})
	past := time.Now().Add(-time.Minute)
	stuckOnes := scheduleMany(t, s, "full", past, many)
	schedule(t, s, "hangs", past, several)
	slowOnes := schedule(t, s, "slow", past, several)
	c := &counting{Store: s, taskType: "full"}
	l, _ := run(t, Config{Store: c, Publisher: f})
	ids := schedule(t, s, "many", past.Add(time.Second), several)
	begin := time.Now()
	for i := 0; time.Since(begin) < lease+2*time.Second; i++ {
		reached(t, l, s, f, "moves")
		reached(t, l, s, f, fmt.Sprint("another", i%3))
		l.mu.Lock()
		require.LessOrEqual(t, len(l.held), maxHeld*3/4)
		l.mu.Unlock()
	}
	eventually(t, "the others", func() bool { return f.count(ids...) == len(ids) })
	require.Zero(t, f.count(stuckOnes...))
	require.Positive(t, f.count(slowOnes...))
	require.Less(t, c.leased.Load(), int64(2*maxHeld/share), "few are leased in vain")
	// Those that are first stay so, and the others can be changed.
	due, _, err := s.TakeDue(t.Context(), time.Now().Add(lease), time.Millisecond, 60_000, map[string]int{"hangs": 0, "slow": 0})
	require.NoError(t, err)
	again := 0
	for _, d := range due {
		if d.Again {
			again++
		}
	}
	require.Less(t, again, 2*maxHeld/share)
	close(slow)
	f.answer("hangs", nil)
}

// Any number of queues may take nothing. Not parallel: it measures time.
func TestManyQueuesThatTakeNothing(t *testing.T) {
	s, f := newStore(t), newFakes()
	past := time.Now().Add(-time.Minute)
	for i := range 30 {
		name := fmt.Sprint("full", i)
		f.answer(name, func(Task) error { return ErrFull })
		schedule(t, s, name, past, few)
	}
	l, _ := run(t, Config{Store: s, Publisher: f})
	begin := time.Now()
	for time.Since(begin) < lease+time.Second {
		reached(t, l, s, f, "moves")
	}
}

func TestWhenThereIsRoomAgain(t *testing.T) {
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
	ids := schedule(t, s, "full", time.Now(), 3*maxTake)
	l, _ := run(t, Config{Store: s, Publisher: f})
	eventually(t, "tried", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.lines["full"] != nil && l.room(l.lines["full"]) == 0
	})
	require.Zero(t, f.count(ids...))
	got, err := s.Task(t.Context(), ids[0])
	require.NoError(t, err)
	require.Equal(t, task.StateScheduled, got.State)
	close(room)
	eventually(t, "published", func() bool { return f.count(ids...) == len(ids) && left(t, s) == 0 })
	for _, id := range ids {
		require.Equal(t, 1, f.published[id])
		require.Zero(t, f.again[id], "a full queue has none of them")
	}
}

// Of a task that has ended meanwhile the message is forgotten.
func TestWhatHasEndedIsNotPublished(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	f.answer("a", func(Task) error { return ErrFull })
	ids := schedule(t, s, "a", time.Now(), 4)
	var ends []task.Event
	for _, id := range ids[:2] {
		ends = append(ends, task.Event{TaskID: id, Type: "a", Time: time.Now(), Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}})
	}
	// One was leased before, the others are when it ends.
	due, _, err := s.TakeDue(t.Context(), time.Now(), time.Millisecond, 1, nil)
	require.NoError(t, err)
	require.Len(t, due, 1)
	run(t, Config{Store: s, Publisher: f})
	_, err = s.Apply(t.Context(), ends)
	require.NoError(t, err)
	eventually(t, "forgotten", func() bool { return left(t, s) == 2 })
	f.answer("a", nil)
	eventually(t, "the others", func() bool { return left(t, s) == 0 })
	require.Zero(t, f.count(ids[:2]...))
	require.Equal(t, 2, f.count(ids[2:]...))
}

// What is being published when the loop ends is seen to.
func TestALoopThatEndsForgetsWhatItPublishes(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	publishing, goOn := make(chan struct{}), make(chan struct{})
	f.answer("a", func(Task) error {
		close(publishing)
		<-goOn
		return nil
	})
	ids := schedule(t, s, "a", time.Now(), 1)
	ctx, cancel := context.WithCancel(t.Context())
	l := New(Config{Store: s, Publisher: f, Logger: quiet()})
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	<-publishing
	cancel()
	close(goOn)
	running.Wait()
	require.Equal(t, 1, f.count(ids...))
	require.Zero(t, left(t, s))
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	for again, failure := range []error{ErrNotPublished, broker.ErrUnknown} {
		whatFails(t, failure, again)
	}
}

func whatFails(t *testing.T, failure error, again int) {
	t.Helper()
	s, f := newStore(t), newFakes()
	var mu sync.Mutex
	tries := 0
	f.answer("a", func(Task) error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries == 1 {
			return fmt.Errorf("%w: lost", failure)
		}
		return nil
	})
	ids := schedule(t, s, "a", time.Now(), 1)
	run(t, Config{Store: s, Publisher: f})
	eventually(t, "again", func() bool { return left(t, s) == 0 })
	require.Equal(t, 1, f.published[ids[0]])
	require.Equal(t, again, f.again[ids[0]], "whether it may have been published")
}

func TestNothingIsTakenWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	s, f := newStore(t), newFakes()
	f.away = make(chan struct{})
	ids := schedule(t, s, "a", time.Now(), 1)
	l, _ := run(t, Config{Store: s, Publisher: f})
	l.Wake(time.Now())
	select {
	case <-f.asked:
	case <-time.After(patience):
		t.Fatal("the loop does not ask whether it can publish")
	}
	// It is leased to nobody: who asks gets it.
	due, _, err := s.TakeDue(t.Context(), time.Now(), time.Millisecond, 10, nil)
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
	f.untold = 2
	var log bytes.Buffer
	_, stop := run(t, Config{Store: s, Publisher: f, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	eventually(t, "all are done with", func() bool { return left(t, s) == 0 })
	stop()
	require.Equal(t, 1, strings.Count(log.String(), "can't be published, it is a dead letter"), "it is said once, when it is so")
	require.Equal(t, 5, f.count(good...))
	require.Zero(t, f.count(bad))
	require.Len(t, f.parked, 3, "before each try to tell it")
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

func (s *failing) TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int, most map[string]int) ([]store.Due, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.takes > 0 {
		s.takes--
		return nil, time.Time{}, store.ErrUnavailable
	}
	return s.Store.TakeDue(ctx, now, lease, limit, most)
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
		in.enter(&held{Due: store.Due{TaskID: fmt.Sprint(i), Message: []byte("12")}, until: now.Add(time.Duration(i%2) * time.Second)})
	}
	require.Equal(t, maxTake+100, in.count)
	require.Equal(t, 2*(maxTake+100), in.bytes)
	batch, late := in.take(now)
	require.Len(t, batch, (maxTake+100)/2)
	require.Len(t, late, (maxTake+100)/2)
	require.Empty(t, in.tasks)
	in.leave(late)
	require.Equal(t, len(batch), in.count, "what is being published counts")
	in.leave(batch)
	require.Zero(t, in.count)
	require.Zero(t, in.bytes)
}

// Large messages are taken a few at a time.
func TestTakesGoByBytes(t *testing.T) {
	t.Parallel()
	l := New(Config{})
	require.Equal(t, maxTake, l.limit())
	l.held["a"], l.bytes = &held{}, 1<<20
	require.Equal(t, 3, l.limit())
	l.bytes = maxHeldBytes
	require.Equal(t, 1, l.limit())
}

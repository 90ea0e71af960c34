//go:build unix

package queues

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// looks counts the looks at a store: at all types together, and at one.
type looks struct {
	MetricsStore
	all, own int
}

func (l *looks) NextQueued(ctx context.Context, taskType, from string) (store.NextQueued, error) {
	if taskType == "" {
		l.all++
	} else {
		l.own++
	}
	return l.MetricsStore.NextQueued(ctx, taskType, from)
}

// slow is a store of so many stretches, each with no more than a task of a type. Their
// ids are the stretches' numbers. Each look takes as long as look.
type slow struct {
	MetricsStore
	look      time.Duration
	stretches int
	queued    map[string][]int
}

func (s *slow) NextQueued(_ context.Context, taskType, from string) (found store.NextQueued, err error) {
	<-time.After(s.look)
	at, _ := strconv.Atoi(from)
	firsts := map[string]store.QueuedTask{}
	for name, places := range s.queued {
		for _, place := range places {
			if place == at {
				firsts[name] = store.QueuedTask{ID: id(at), Since: time.Unix(int64(at), 0)}
			}
		}
	}
	first, ok := firsts[taskType]
	switch {
	case taskType == "":
		found.Firsts = firsts
	case ok:
		return store.NextQueued{ID: first.ID, Since: first.Since}, nil
	}
	if at+1 < s.stretches {
		found.Next = id(at + 1)
	}
	return found, nil
}

func id(stretch int) string { return fmt.Sprintf("%08d", stretch) }

// ready are samples of types whose queues have so many tasks.
func ready(n int64, types ...string) []sample {
	samples := make([]sample, len(types))
	for i, name := range types {
		samples[i] = sample{taskType: name, ready: &n}
	}
	return samples
}

func aged(samples []sample) (n int) {
	for i := range samples {
		if samples[i].aged {
			n++
		}
	}
	return n
}

func manyTypes() []string {
	many := make([]string, 50)
	for i := range many {
		many[i] = fmt.Sprintf("acme.v1.ImageService.Crop%d", i)
	}
	return many
}

// However many types there are, finding them all takes one walk through the store.
func TestAgesOfManyTypesTakeOneWalk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		many := manyTypes()
		s := &slow{look: ageBudget / 25, stretches: 100, queued: map[string][]int{}}
		for _, name := range many {
			s.queued[name] = []int{99}
		}
		l := &looks{MetricsStore: s}
		a := newAges(l)
		for walked := 25; walked <= 100; walked += 25 {
			samples := ready(1, many...)
			began := time.Now()
			a.enter(t.Context(), samples)
			require.LessOrEqual(t, time.Since(began), ageBudget)
			require.Equal(t, walked, l.all)
			require.Zero(t, l.own)
			if walked == 100 {
				require.Equal(t, 50, aged(samples))
				require.Equal(t, time.Unix(99, 0), samples[49].oldest)
			}
		}
		turns := map[string]bool{}
		for range 2 {
			samples := ready(1, many...)
			a.enter(t.Context(), samples)
			require.Equal(t, 25, aged(samples), "each looks once")
			for i := range samples {
				if samples[i].aged {
					turns[samples[i].taskType] = true
				}
			}
		}
		require.Len(t, turns, 50, "and each in its turn")
		require.Equal(t, 100, l.all, "none needs the walk")
	})
}

func TestAgesOfManyTypesBehindManyTasks(t *testing.T) {
	t.Parallel()
	const stretches = 2
	s := openStore(t)
	for range 6 {
		events := make([]task.Event, 1000)
		for i := range events {
			events[i] = task.Event{TaskID: task.NewID(), Type: resize, Time: time.Now(), Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded}}
		}
		_, err := s.Apply(t.Context(), events)
		require.NoError(t, err)
	}
	many := manyTypes()
	for _, name := range many {
		put(t, s, name, time.Hour)
	}
	l := &looks{MetricsStore: s}
	a := newAges(l)
	samples := ready(1, many...)
	// On a slow machine a sample may have time for one look alone.
	for range stretches {
		if aged(samples) == 0 {
			a.enter(t.Context(), samples)
		}
	}
	require.Equal(t, 50, aged(samples))
	require.Equal(t, stretches, l.all)
	require.Zero(t, l.own)
}

// Types with a place and those that are walked for get on beside each other.
func TestAgesWhileTheWalkGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{look: ageBudget / 10, stretches: 40, queued: map[string][]int{resize: {0}, crop: {39}}}
		l := &looks{MetricsStore: s}
		a := newAges(l)
		enter := func() []sample {
			samples := ready(1, resize, crop)
			began := time.Now()
			a.enter(t.Context(), samples)
			require.LessOrEqual(t, time.Since(began), ageBudget+s.look)
			return samples
		}
		for walked := 0; walked+10 < s.stretches; walked = l.all {
			samples := enter()
			require.True(t, samples[0].aged)
			require.Equal(t, time.Unix(0, 0), samples[0].oldest)
			require.Greater(t, l.all, walked)
		}
		// The other one searches a long way.
		s.queued[resize] = nil
		before := l.all
		require.False(t, enter()[0].aged)
		require.Greater(t, l.all, before)
		for range 10 {
			enter()
		}
		samples := enter()
		require.Equal(t, time.Unix(39, 0), samples[1].oldest)
		require.False(t, samples[0].aged)
	})
}

// What a walk has not found is looked for where new tasks come, and by another walk
// after a while.
func TestAgesOfWhatIsNotFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{look: time.Millisecond, stretches: 10, queued: map[string][]int{}}
		l := &looks{MetricsStore: s}
		a := newAges(l)
		find := func(n int64, taskType string) sample {
			samples := ready(n, resize, crop)
			for i := range samples {
				if samples[i].taskType != taskType {
					samples[i].ready = amount(int64(0))
				}
			}
			a.enter(t.Context(), samples)
			for _, s := range samples {
				if s.taskType == taskType {
					return s
				}
			}
			return sample{}
		}
		require.False(t, find(1, resize).aged)
		require.Equal(t, 10, l.all)
		s.stretches, s.queued[crop] = 12, []int{11}
		require.Equal(t, time.Unix(11, 0), find(1, crop).oldest)
		require.Equal(t, 3, l.own, "from the end of the walk on")
		s.queued[resize] = []int{4}
		require.False(t, find(1, resize).aged)
		require.Equal(t, 10, l.all, "not at once")
		<-time.After(walkAgain)
		require.Equal(t, time.Unix(4, 0), find(1, resize).oldest)
		require.Equal(t, 15, l.all)
		require.Equal(t, id(4), a.searches[resize].from)
		require.Equal(t, id(11), a.searches[crop].from, "it keeps its own")
	})
}

// The search for the oldest task goes on from where it was.
func TestAgesOfTheOldest(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	a := newAges(s)
	find := func(n int64) sample {
		samples := ready(n, resize)
		a.enter(t.Context(), samples)
		return samples[0]
	}
	require.Equal(t, sample{taskType: resize, ready: amount(int64(0)), aged: true}, find(0))
	require.False(t, find(1).aged, "the store has not caught up")
	first := put(t, s, resize, 2*time.Hour)
	second := put(t, s, resize, time.Hour)
	require.WithinDuration(t, time.Now().Add(-2*time.Hour), find(2).oldest, time.Minute)
	start := func(id string) {
		_, err := s.Apply(t.Context(), []task.Event{{TaskID: id, Type: resize, Time: time.Now(), Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseStarted}}})
		require.NoError(t, err)
	}
	start(first)
	require.WithinDuration(t, time.Now().Add(-time.Hour), find(1).oldest, time.Minute)
	require.Equal(t, second, a.searches[resize].from)
	start(second)
	require.False(t, find(1).aged)
	third := put(t, s, resize, time.Hour)
	require.True(t, find(1).aged)
	require.Equal(t, third, a.searches[resize].from)
	a.enter(t.Context(), nil)
	require.Empty(t, a.searches, "nothing is kept of types that are gone")
}

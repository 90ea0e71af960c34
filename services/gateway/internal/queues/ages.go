package queues

import (
	"context"
	"time"
)

const (
	// ageBudget bounds the search for the oldest tasks in one sample.
	ageBudget = 250 * time.Millisecond
	// walkAgain is when a walk that went through all tasks is begun anew.
	walkAgain = time.Minute
)

// ages finds since when the oldest tasks have waited in their queues.
//
// No index of the store has the tasks of a queue, so one walk for all types goes through
// the tasks by their ids, a stretch at a time and for as long as the budget of a sample
// lasts, and notes the first task of each type that it looks for: what it costs does not
// depend on how many types there are. From there each type goes on by itself: a queue is
// worked off in about that order. A task that came into the queue again, or came late,
// behind that place is found once those before it are gone; so what is found is how long
// the oldest has waited at least.
type ages struct {
	store    MetricsStore
	searches map[string]*search
	// first is the type that the next sample begins with, so that each gets its turn.
	first string
	// walk is where the walk goes on; pause until when it does not.
	walk  string
	pause time.Time
}

// search is that of one task type.
type search struct {
	// from is where it goes on by itself; empty before the walk has found a place.
	from string
	// lost says that nothing was found from there on, so that the walk looks for it too.
	lost bool
}

func newAges(s MetricsStore) *ages { return &ages{store: s, searches: map[string]*search{}} }

// enter enters into samples since when their oldest tasks have waited.
func (a *ages) enter(ctx context.Context, samples []sample) {
	start := a.know(samples)
	now := time.Now()
	deadline := now.Add(ageBudget)
	own := deadline
	if a.wanted(samples, now) {
		// Neither the types that have a place nor the walk keep the other from going on.
		own = now.Add(ageBudget / 2)
	}
	for i := range samples {
		s := &samples[(start+i)%len(samples)]
		search := a.searches[s.taskType]
		switch {
		case s.ready == nil:
		case *s.ready == 0:
			s.aged = true
		case search.from == "":
		case time.Now().Before(own) && ctx.Err() == nil:
			s.oldest, s.aged = a.find(ctx, search, s.taskType, own)
		case a.first == "":
			a.first = s.taskType
		}
	}
	a.goOn(ctx, samples, deadline)
}

// know keeps the searches of these samples' types alone, and returns the sample to begin
// with.
func (a *ages) know(samples []sample) (start int) {
	known := make(map[string]*search, len(samples))
	for i := range samples {
		name := samples[i].taskType
		if known[name] = a.searches[name]; known[name] == nil {
			known[name] = &search{lost: true}
		}
		if name == a.first {
			start = i
		}
	}
	a.searches, a.first = known, ""
	return start
}

// find goes on with a type's own search until then; false if nothing was found.
func (a *ages) find(ctx context.Context, s *search, taskType string, until time.Time) (time.Time, bool) {
	for time.Now().Before(until) {
		found, err := a.store.NextQueued(ctx, taskType, s.from)
		switch {
		case err != nil:
			return time.Time{}, false
		case found.ID != "":
			s.from, s.lost = found.ID, false
			return found.Since, true
		case found.Next == "":
			// The store has not caught up with the queue, so that it will be here, or it
			// is behind.
			s.lost = true
			return time.Time{}, false
		}
		s.from = found.Next
	}
	return time.Time{}, false
}

// wanted says whether a queue that is not empty needs the walk.
func (a *ages) wanted(samples []sample, now time.Time) bool {
	if now.Before(a.pause) {
		return false
	}
	for i := range samples {
		if s := &samples[i]; s.ready != nil && *s.ready > 0 && a.searches[s.taskType].lost {
			return true
		}
	}
	return false
}

// goOn goes on with the walk until the deadline.
func (a *ages) goOn(ctx context.Context, samples []sample, deadline time.Time) {
	for now := time.Now(); now.Before(deadline) && ctx.Err() == nil && a.wanted(samples, now); now = time.Now() {
		found, err := a.store.NextQueued(ctx, "", a.walk)
		if err != nil {
			return
		}
		for i := range samples {
			s := &samples[i]
			first, ok := found.Firsts[s.taskType]
			search := a.searches[s.taskType]
			if !ok || !search.lost {
				continue
			}
			search.from, search.lost = first.ID, false
			if s.ready != nil && *s.ready > 0 {
				s.oldest, s.aged = first.Since, true
			}
		}
		if found.Next == "" {
			a.end(now)
			return
		}
		a.walk = found.Next
	}
}

// end ends a walk. Types without a place get that of the newest tasks, where theirs
// will come.
func (a *ages) end(now time.Time) {
	if a.walk == "" {
		// One look sees all tasks.
		return
	}
	for _, s := range a.searches {
		if s.from == "" {
			s.from = a.walk
		}
	}
	a.walk, a.pause = "", now.Add(walkAgain)
}

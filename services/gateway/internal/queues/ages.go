package queues

import (
	"context"
	"time"
)

const (
	// ageBudget bounds the search for the oldest tasks in one sample.
	ageBudget = 250 * time.Millisecond
	// searchAgain is when a search that went through all tasks in vain is begun anew.
	searchAgain = time.Minute
)

// ages finds since when the oldest tasks have waited in their queues.
//
// No index of the store has the tasks of a queue, so each search goes through the
// tasks by their ids, a stretch at a time and for as long as the budget of a sample
// lasts, and goes on in the next one from what it has found: a queue is worked off in
// about that order. A task that came into the queue again, or came late, behind that
// place is found once those before it are gone; so what is found is how long the oldest
// has waited at least.
type ages struct {
	store    MetricsStore
	searches map[string]*search
	// first is the type that the next sample begins with, so that each gets its turn.
	first string
}

// search is that of one task type.
type search struct {
	// from is where it goes on; pause until when it does not.
	from  string
	pause time.Time
}

func newAges(s MetricsStore) *ages { return &ages{store: s, searches: map[string]*search{}} }

// enter enters into samples since when their oldest tasks have waited.
func (a *ages) enter(ctx context.Context, samples []sample) {
	known := make(map[string]*search, len(samples))
	start := 0
	for i := range samples {
		name := samples[i].taskType
		if known[name] = a.searches[name]; known[name] == nil {
			known[name] = &search{}
		}
		if name == a.first {
			start = i
		}
	}
	a.searches, a.first = known, ""
	deadline := time.Now().Add(ageBudget)
	for i := range samples {
		s := &samples[(start+i)%len(samples)]
		switch {
		case s.ready == nil:
		case *s.ready == 0:
			s.aged = true
		case time.Now().Before(deadline) && ctx.Err() == nil:
			s.oldest, s.aged = a.find(ctx, known[s.taskType], s.taskType, deadline)
		case a.first == "":
			a.first = s.taskType
		}
	}
}

// find goes on with a search until the deadline; false if nothing was found.
func (a *ages) find(ctx context.Context, s *search, taskType string, deadline time.Time) (time.Time, bool) {
	for now := time.Now(); now.Before(deadline) && !now.Before(s.pause); now = time.Now() {
		found, err := a.store.NextQueued(ctx, taskType, s.from)
		switch {
		case err != nil:
			return time.Time{}, false
		case found.ID != "":
			s.from = found.ID
			return found.Since, true
		case found.Next != "":
			s.from = found.Next
		case s.from == "":
			// The store has not caught up with the queue.
			return time.Time{}, false
		default:
			s.from, s.pause = "", now.Add(searchAgain)
		}
	}
	return time.Time{}, false
}

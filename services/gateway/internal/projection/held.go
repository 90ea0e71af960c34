package projection

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// betweenBatches is how long the age of the last batch stands for what waits behind it:
// longer than one is gathered, decoded and acknowledged.
const betweenBatches = 10 * time.Second

// held is what the broker has handed over and is not in the store yet.
type held struct {
	// unacked counts events.
	unacked atomic.Int64

	mu sync.Mutex
	// oldest is the time of the oldest event that is being applied; zero for none.
	oldest time.Time
	// lastAge is what the oldest of the last batch had waited when that ended, at lastEnd.
	lastAge time.Duration
	lastEnd time.Time
}

// begin says that events are being applied, until end.
func (h *held) begin(events []task.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range events {
		if at := events[i].Time; h.oldest.IsZero() || at.Before(h.oldest) {
			h.oldest = at
		}
	}
}

func (h *held) end(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.oldest.IsZero() {
		h.lastAge, h.lastEnd = now.Sub(h.oldest), now
	}
	h.oldest = time.Time{}
}

// age is that of the oldest event that is being applied. Between two batches, while
// others wait, it is what the last one had: theirs is about the same. 0 for none.
func (h *held) age(now time.Time, others bool) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.oldest.IsZero():
		return max(now.Sub(h.oldest), 0)
	case others && now.Sub(h.lastEnd) < betweenBatches:
		return max(h.lastAge, 0)
	}
	return 0
}

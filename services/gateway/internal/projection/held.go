package projection

import (
	"sync/atomic"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// held is what the broker has handed over and is not in the store yet.
type held struct {
	// unacked counts events.
	unacked atomic.Int64
	// oldest is the time of the oldest event that is being applied, in microseconds
	// since 1970; 0 for none. Others were handed over after it.
	oldest atomic.Int64
}

// begin says that events are being applied, until end.
func (h *held) begin(events []task.Event) {
	oldest := int64(0)
	for i := range events {
		if at := events[i].Time.UnixMicro(); oldest == 0 || at < oldest {
			oldest = at
		}
	}
	h.oldest.Store(oldest)
}

func (h *held) end() { h.oldest.Store(0) }

// age is that of the oldest event that is being applied; 0 for none.
func (h *held) age(now time.Time) time.Duration {
	oldest := h.oldest.Load()
	if oldest == 0 {
		return 0
	}
	return max(now.Sub(time.UnixMicro(oldest)), 0)
}

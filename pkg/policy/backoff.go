package policy

import (
	"math"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// waits are the waits between attempts.
type waits struct {
	// The waits one by one, of which the last repeats; empty for exponential ones.
	list       []time.Duration
	initial    time.Duration
	multiplier float64
	max        time.Duration
	// Not jittered.
	exact bool
}

// compileWaits expects a backoff without gaps.
func compileWaits(b *taskv1.Backoff) waits {
	w := waits{exact: b.GetJitter() == taskv1.Jitter_JITTER_NONE}
	switch kind := b.GetKind().(type) {
	case *taskv1.Backoff_Fixed:
		w.list = []time.Duration{kind.Fixed.AsDuration()}
	case *taskv1.Backoff_List:
		for _, d := range kind.List.GetDelays() {
			w.list = append(w.list, d.AsDuration())
		}
	case *taskv1.Backoff_Exponential:
		e := kind.Exponential
		w.initial, w.multiplier, w.max = e.GetInitial().AsDuration(), e.GetMultiplier(), e.GetMax().AsDuration()
	}
	return w
}

// after is the wait after attempt n, from 1, before it is jittered.
func (w waits) after(n int) time.Duration {
	n = max(n, 1)
	if len(w.list) > 0 {
		return bounded(w.list[min(n, len(w.list))-1])
	}
	// A float can't overflow: it becomes infinite, which is above the maximum.
	wait := float64(w.initial) * math.Pow(w.multiplier, float64(n-1))
	if wait < float64(w.max) {
		return bounded(time.Duration(wait))
	}
	return bounded(w.max)
}

// shortest is the least that the wait after the first attempt can be.
func (w waits) shortest() time.Duration {
	if w.exact {
		return w.after(1)
	}
	return MinDelay
}

// next is the wait after attempt n. random(m) is evenly from 0 to m-1.
func (w waits) next(n int, random func(int64) int64) time.Duration {
	wait := w.after(n)
	if w.exact {
		return wait
	}
	return MinDelay + time.Duration(random(int64(wait-MinDelay)+1))
}

func bounded(d time.Duration) time.Duration { return min(max(d, MinDelay), MaxDelay) }

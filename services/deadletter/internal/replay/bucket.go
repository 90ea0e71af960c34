package replay

import "time"

// bucketTick is how finely a rate is kept: so long a time's share gathers before it is
// spent, unless that is less than one.
const bucketTick = 50 * time.Millisecond

// bucket allows so many items per second. It fills evenly, from empty, and holds what a
// second gives at most: a stall is made up for by no more than that.
type bucket struct {
	rate   float64 // 0 is no bound
	tokens float64
	filled time.Time
}

// fill adds what has come in since the last time, at the rate that holds from now on.
func (b *bucket) fill(rate float64, now time.Time) {
	if !b.filled.IsZero() && b.rate > 0 {
		b.tokens = min(b.tokens+b.rate*now.Sub(b.filled).Seconds(), max(b.rate, 1))
	}
	b.rate, b.filled = rate, now
}

// allowed is how many may be begun now, of at most n.
func (b *bucket) allowed(n int) int {
	if b.rate == 0 {
		return n
	}
	if b.tokens < b.least() {
		return 0
	}
	return min(n, int(b.tokens))
}

// least is how many are worth beginning.
func (b *bucket) least() float64 { return max(1, b.rate*bucketTick.Seconds()) }

// wait is the time until some may be begun.
func (b *bucket) wait() time.Duration {
	if b.rate == 0 {
		return 0
	}
	return time.Duration(max(0, b.least()-b.tokens) / b.rate * float64(time.Second))
}

// spend takes what was begun.
func (b *bucket) spend(n int) {
	if b.rate > 0 {
		b.tokens -= float64(n)
	}
}

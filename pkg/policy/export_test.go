package policy

import "time"

// Span is span, for tests.
func Span(d time.Duration) string { return span(d) }

// WaitAfter is the policy's wait after attempt n, before it is jittered.
func WaitAfter(p Policy, n int) time.Duration { return p.settings().waits.after(n) }

// DecideWith is Decide with a source of randomness: random(m) is from 0 to m-1.
func DecideWith(p Policy, a Attempt, random func(int64) int64) Decision {
	return p.settings().decide(a, random)
}

package schedules

import (
	"fmt"
	"time"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
)

// late is how late a firing may be and not count as missed.
const late = time.Minute

// step is what comes next of a schedule: one firing, after which its next time is
// another one.
type step struct {
	at, next time.Time
	// missed says that it is not fired, and why.
	missed string
}

// plan is what a schedule whose next time has come is to do now.
func (t *Timetable) plan(due, now time.Time, catchUp adminv1.CatchUpPolicy) []step {
	limit := now.Add(-late)
	if !due.Before(limit) {
		return []step{{at: due, next: t.Next(due)}}
	}
	if catchUp == adminv1.CatchUpPolicy_CATCH_UP_POLICY_NONE {
		m := t.missedBefore(due, limit)
		return []step{{at: m.first, next: t.Next(m.last), missed: m.text(m.count)}}
	}
	// The last of them may have come within that minute: it stands for all.
	m := t.missedBefore(due, now.Add(time.Microsecond))
	next := t.Next(m.last)
	steps := []step{{at: m.last, next: next}}
	if m.count > 1 {
		steps = []step{{at: m.first, next: m.last, missed: m.text(m.count - 1)}, steps[0]}
	}
	return steps
}

// text says how many times in a row were missed.
func (m *missed) text(count int) string {
	switch {
	case m.more:
		return fmt.Sprintf("at least %d times in a row were missed", count)
	case count == 1:
		return "1 time was missed"
	}
	return fmt.Sprintf("%d times in a row were missed", count)
}

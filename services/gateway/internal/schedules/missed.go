package schedules

import "time"

// maxCounted is up to how many missed times are counted.
const maxCounted = 1000

// missed are times in a row that were not fired.
type missed struct {
	first, last time.Time
	count       int
	// more says that there may be more than count.
	more bool
}

// missedBefore are the times from first on, which is one of them, before a limit.
func (t *Timetable) missedBefore(first, limit time.Time) missed {
	m := missed{first: first, last: first, count: 1}
	for m.count <= maxCounted {
		if !t.advance(&m, limit) {
			return m
		}
	}
	// Too many to look at each: the last ones are looked for backwards.
	for span := time.Minute; ; span *= 2 {
		from := limit.Add(-span)
		if !from.After(m.last) {
			break
		}
		if next := t.Next(from); !next.IsZero() && next.Before(limit) {
			m.last, m.more = next, true
			break
		}
	}
	for t.advance(&m, limit) {
		m.more = true
	}
	return m
}

func (t *Timetable) advance(m *missed, limit time.Time) bool {
	next := t.Next(m.last)
	if next.IsZero() || !next.Before(limit) {
		return false
	}
	m.last = next
	m.count++
	return true
}

package schedules

import "time"

// A time of a clock is kept as the time of UTC at which a clock in UTC shows the
// same.

// shown is what a clock in a time zone shows at t.
func shown(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// maxOffset is more than any time zone's from UTC.
const maxOffset = 26 * time.Hour

// instant is when a clock in a time zone shows a time: the first time, if it does so
// twice, and if it never does, the moment at which it skips it.
func instant(clock time.Time, zone *time.Location) time.Time {
	for at := clock.Add(-maxOffset); ; {
		start, end := at.In(zone).ZoneBounds()
		_, offset := at.In(zone).Zone()
		t := clock.Add(-time.Duration(offset) * time.Second)
		switch {
		case !start.IsZero() && t.Before(start):
			return start.UTC()
		case end.IsZero() || t.Before(end):
			return t
		}
		at = end
	}
}

// nextByDay is the first time after t that the expression means as one of a day.
func (e expression) nextByDay(t time.Time, zone *time.Location) time.Time {
	for clock := shown(t, zone); ; {
		clock = e.spec.Next(clock)
		if clock.IsZero() {
			return clock
		}
		// What the clock shows for the second time has been.
		if next := instant(clock, zone); next.After(t) {
			return next
		}
	}
}

// nextPassing is the first time after t at which the clock shows what the expression
// means.
func (e expression) nextPassing(t time.Time, zone *time.Location) time.Time {
	after := shown(t, zone)
	for at := t; ; {
		_, end := at.In(zone).ZoneBounds()
		_, offset := at.In(zone).Zone()
		clock := e.spec.Next(after)
		if clock.IsZero() {
			return clock
		}
		next := clock.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || next.Before(end) {
			return next
		}
		// From what the clock shows when it has been changed on.
		at, after = end, shown(end, zone).Add(-time.Nanosecond)
	}
}

func (e expression) next(t time.Time, zone *time.Location) time.Time {
	if e.passing {
		return e.nextPassing(t, zone)
	}
	return e.nextByDay(t, zone)
}

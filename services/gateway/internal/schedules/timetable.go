package schedules

import (
	"cmp"
	"fmt"
	"strconv"
	"time"
	_ "time/tzdata" // time zones, wherever the program runs

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

// maxGaps bounds the times that are looked at for the shortest time between two.
const maxGaps = 500

// Timetable says when a schedule fires.
type Timetable struct {
	// next is the first time after another one, whatever start and end are; zero for
	// none.
	next func(after time.Time) time.Time
	// start and end are zero for none.
	start, end time.Time
	jitter     time.Duration
}

// Compile makes the timetable of a schedule, which has its create time. Errors: a
// [*policy.FieldError] with the field of warren.admin.v1.Schedule that is wrong.
func Compile(s *adminv1.Schedule) (*Timetable, error) {
	t := &Timetable{jitter: s.Jitter.AsDuration()}
	var err error
	if t.start, err = moment("start_time", s.StartTime); err != nil {
		return nil, err
	}
	if t.end, err = moment("end_time", s.EndTime); err != nil {
		return nil, err
	}
	if !t.end.IsZero() && t.end.Before(t.start) {
		return nil, bad("end_time", "must not be before start_time")
	}
	if err := t.compileWhen(s); err != nil {
		return nil, err
	}
	return t, t.checkJitter()
}

func (t *Timetable) compileWhen(s *adminv1.Schedule) error {
	zone, err := loadZone(s.TimeZone)
	if err != nil {
		return err
	}
	switch when := s.When.(type) {
	case *adminv1.Schedule_Cron:
		e, err := parseCron(when.Cron)
		if err != nil {
			return err
		}
		t.next = func(after time.Time) time.Time { return e.next(after, zone) }
	case *adminv1.Schedule_Interval:
		anchor := t.start
		if anchor.IsZero() {
			anchor = s.CreateTime.AsTime()
		}
		step := when.Interval.AsDuration()
		if step < time.Second {
			return bad("interval", "must be at least 1s")
		}
		t.next = func(after time.Time) time.Time { return nextStep(anchor, step, after) }
	default:
		return bad("cron", "one of cron and interval must be set")
	}
	return nil
}

// nextStep is the first time after another one in steps from an anchor, which is the
// first of them.
func nextStep(anchor time.Time, step time.Duration, after time.Time) time.Time {
	a, d, t := anchor.UnixMicro(), step.Microseconds(), after.UnixMicro()
	if t < a {
		return anchor.Truncate(time.Microsecond)
	}
	return time.UnixMicro(a + ((t-a)/d+1)*d).UTC()
}

func bad(field, problem string) error { return &policy.FieldError{Field: field, Problem: problem} }

func moment(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if t.CheckValid() != nil || t.AsTime().Unix() < 0 {
		return time.Time{}, bad(field, "must be a valid google.protobuf.Timestamp, not before 1970")
	}
	return t.AsTime().Truncate(time.Microsecond), nil
}

func loadZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, bad("time_zone", `"Local" is no IANA name: every gateway may have another one`)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, bad("time_zone", strconv.Quote(name)+" at position 1 is no IANA name such as Europe/Berlin")
	}
	return zone, nil
}

// checkJitter looks at the shortest time between two of the next times. It reads no
// clock: times of some years are as good as others, but for those of the clock's
// changes.
func (t *Timetable) checkJitter() error {
	if t.jitter == 0 {
		return nil
	}
	at := cmp.Or(t.start, time.Date(2024, 2, 28, 0, 0, 0, 0, time.UTC))
	last := t.next(at)
	for range maxGaps {
		next := t.next(last)
		if next.IsZero() {
			return nil
		}
		if gap := next.Sub(last); t.jitter >= gap {
			return bad("jitter", fmt.Sprintf("must be less than the time between two firings, which can be %v", gap))
		}
		last = next
	}
	return nil
}

// Next is the first time after another one, without jitter; zero for none.
func (t *Timetable) Next(after time.Time) time.Time {
	if after.Before(t.start) {
		after = t.start.Add(-time.Microsecond)
	}
	next := t.next(after)
	if !t.end.IsZero() && next.After(t.end) {
		return time.Time{}
	}
	return next
}

// Upcoming are n times from first on, or as many as there are; a zero first is none.
func (t *Timetable) Upcoming(first time.Time, n int) (times []time.Time) {
	for at := first; !at.IsZero() && len(times) < n; at = t.Next(at) {
		times = append(times, at)
	}
	return times
}

package schedules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func zoneOf(t require.TestingT, name string) *time.Location {
	zone, err := time.LoadLocation(name)
	require.NoError(t, err)
	return zone
}

func TestTimesThatTheClockSkipsOrRepeats(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cron, zone, from string
		want             []string
	}{
		"a skipped time is at the end of the gap": {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"several skipped ones are one": {"0,15,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:59:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"}},
		"a repeated time is taken once": {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"also from between the two": {"30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00Z",
			[]string{"2026-10-26T01:30:00Z"}},
		"hours as they pass, twice": {"30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		"and none in a gap": {"30 */2 * * *", "Europe/Berlin", "2026-03-28T22:00:00Z",
			[]string{"2026-03-28T23:30:00Z", "2026-03-29T02:30:00Z"}},
		"half an hour": {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		"a day that is skipped": {"0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z",
			[]string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := parseCron(c.cron)
			require.NoError(t, err)
			at, err := time.Parse(time.RFC3339, c.from)
			require.NoError(t, err)
			for _, want := range c.want {
				at = e.next(at, zoneOf(t, c.zone))
				require.Equal(t, want, at.UTC().Format(time.RFC3339))
			}
		})
	}
}

// part is a field of an expression, and what it means.
type part struct {
	text  string
	means func(n int) bool
}

func every(int) bool { return true }

func drawPart(t *rapid.T, name string, low, high int) part {
	a := rapid.IntRange(low, high).Draw(t, name)
	b := rapid.IntRange(a, high).Draw(t, name+" to")
	step := rapid.IntRange(1, (high-low)/2).Draw(t, name+" step")
	return rapid.SampledFrom([]part{
		{"*", every}, {"?", every},
		{fmt.Sprintf("*/%d", step), func(n int) bool { return (n-low)%step == 0 }},
		{fmt.Sprint(a), func(n int) bool { return n == a }},
		{fmt.Sprintf("%d,%d", b, a), func(n int) bool { return n == a || n == b }},
		{fmt.Sprintf("%d-%d", a, b), func(n int) bool { return n >= a && n <= b }},
		{fmt.Sprintf("%d-%d/%d", a, b, step), func(n int) bool { return n >= a && n <= b && (n-a)%step == 0 }},
	}).Draw(t, name+" form")
}

// crontab is an expression whose meaning is known.
type crontab struct {
	text    string
	passing bool
	means   func(clock time.Time) bool
}

func drawCrontab(t *rapid.T) crontab {
	minute, hour := drawPart(t, "minute", 0, 59), drawPart(t, "hour", 0, 23)
	if rapid.Bool().Draw(t, "early") {
		hour = drawPart(t, "early hour", 0, 4)
		if strings.ContainsAny(hour.text, "*?") {
			hour = part{"0-4", func(n int) bool { return n <= 4 }}
		}
	}
	day, weekday := part{"*", every}, part{"*", every}
	switch rapid.IntRange(0, 3).Draw(t, "days") {
	case 0:
		day = drawPart(t, "day", 1, 31)
	case 1:
		weekday = drawPart(t, "weekday", 0, 6)
	}
	return crontab{
		text:    fmt.Sprintf("%s %s %s * %s", minute.text, hour.text, day.text, weekday.text),
		passing: strings.HasPrefix(hour.text, "*") || hour.text == "?",
		means: func(clock time.Time) bool {
			return minute.means(clock.Minute()) && hour.means(clock.Hour()) && day.means(clock.Day()) && weekday.means(int(clock.Weekday()))
		},
	}
}

// days are minutes that pass around a change of a clock, and what it shows.
type days struct {
	minutes, clocks []time.Time
	// firstShown is when the clock shows something first.
	firstShown map[time.Time]time.Time
}

const around = 72 * time.Hour

func daysAround(change time.Time, zone *time.Location) days {
	d := days{firstShown: map[time.Time]time.Time{}}
	for at := change.Add(-around); at.Before(change.Add(around)); at = at.Add(time.Minute) {
		clock := clockOf(at, zone)
		if _, twice := d.firstShown[clock]; !twice {
			d.firstShown[clock] = at
		}
		d.minutes, d.clocks = append(d.minutes, at), append(d.clocks, clock)
	}
	return d
}

// bruteForce looks at each minute that passes, and at each that a clock could show.
func (d days) bruteForce(c crontab, from, to time.Time) (times []time.Time) {
	if c.passing {
		for i, clock := range d.clocks {
			if c.means(clock) {
				times = append(times, d.minutes[i])
			}
		}
	} else {
		for clock := d.clocks[0]; clock.Before(d.clocks[len(d.clocks)-1]); clock = clock.Add(time.Minute) {
			if !c.means(clock) {
				continue
			}
			at, ok := d.firstShown[clock]
			if !ok {
				at = d.minutes[slices.IndexFunc(d.clocks, clock.Before)]
			}
			times = append(times, at)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	times = slices.CompactFunc(times, time.Time.Equal)
	return slices.DeleteFunc(times, func(at time.Time) bool { return !at.After(from) || !at.Before(to) })
}

// clockOf is what a clock shows, by its digits.
func clockOf(at time.Time, zone *time.Location) time.Time {
	l := at.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
}

// changes are days near which clocks are changed.
var changes = map[string][]string{
	"Europe/Berlin":       {"2026-03-29", "2026-10-25", "2030-03-31"},
	"America/New_York":    {"2026-03-08", "2026-11-01"},
	"Australia/Lord_Howe": {"2026-04-04", "2026-10-03"},
	"Africa/Casablanca":   {"2026-02-15", "2026-03-22"},
	"America/Sao_Paulo":   {"2018-11-04", "2018-02-18"}, // at midnight
	"Pacific/Apia":        {"2011-12-30"},
	"UTC":                 {"2026-03-29"},
}

func TestNextIsWhatBruteForceFinds(t *testing.T) {
	t.Parallel()
	type place struct {
		zone   *time.Location
		change time.Time
		days   days
	}
	var places []place
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		for _, day := range changes[name] {
			change, err := time.Parse(time.DateOnly, day)
			require.NoError(t, err)
			zone := zoneOf(t, name)
			places = append(places, place{zone, change, daysAround(change, zone)})
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := places[rapid.IntRange(0, len(places)-1).Draw(t, "place")]
		from := p.change.Add(-time.Duration(rapid.IntRange(0, 36*60).Draw(t, "minutes before")) * time.Minute)
		to := p.change.Add(48 * time.Hour)
		c := drawCrontab(t)
		e, err := parseCron(c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, c.passing, e.passing, c.text)
		found := []time.Time{}
		for at := e.next(from, p.zone); !at.IsZero() && at.Before(to); at = e.next(at, p.zone) {
			require.False(t, len(found) > 0 && !at.After(found[len(found)-1]), "%s: %v", c.text, at)
			found = append(found, at.UTC())
		}
		require.True(t, slices.EqualFunc(p.days.bruteForce(c, from, to), found, time.Time.Equal), "%s in %v: %v", c.text, p.zone, found)

		// From wherever it is asked, the next one is the next one.
		some := from.Add(time.Duration(rapid.Int64Range(0, int64(to.Sub(from))-1).Draw(t, "some time")))
		next := e.next(some, p.zone)
		if i := slices.IndexFunc(found, some.Before); i >= 0 {
			require.Equal(t, found[i], next.UTC(), c.text)
		} else {
			require.False(t, !next.IsZero() && next.Before(to), c.text)
		}
	})
}

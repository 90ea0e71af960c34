package fingerprint

import "strings"

// matchTime is the end of a date or time that begins with a digit.
func matchTime(text string, at int) int {
	n := while(text, at, isDigit) - at
	end := 0
	switch {
	case n == 4:
		end = yearFirst(text, at)
	case n == 8:
		end = compact(text, at)
	case n <= 2:
		if end = dayFirst(text, at, n); end == 0 {
			if end = clock(text, at, true); end > 0 {
				end = offset(text, end)
			}
		}
	}
	if end == 0 || !ends(text, end) {
		return 0
	}
	return end
}

// number reads as many digits as there are, at least least and at most most of them;
// false if there are less or more, or their number exceeds limit.
func number(text string, at, least, most, limit int) (end int, ok bool) {
	value := 0
	for end = at; end < len(text) && isDigit(text[end]) && end-at <= most; end++ {
		value = 10*value + int(text[end]-'0')
	}
	return end, end-at >= least && end-at <= most && value <= limit
}

func is(text string, at int, any string) bool {
	return at < len(text) && strings.IndexByte(any, text[at]) >= 0
}

// yearFirst is the end of YYYY-MM-DD with its time, if one follows.
func yearFirst(text string, at int) int {
	i := at + 4
	if !is(text, i, "-/.") {
		return 0
	}
	separator := text[i]
	i, ok := number(text, i+1, 1, 2, 12)
	if !ok || i >= len(text) || text[i] != separator {
		return 0
	}
	if i, ok = number(text, i+1, 1, 2, 31); !ok {
		return 0
	}
	return timeAfter(text, i, "Tt _:")
}

// compact is the end of YYYYMMDDTHHMMSS with its zone.
func compact(text string, at int) int {
	i := at + 8
	if !is(text, i, "T") {
		return 0
	}
	i, ok := number(text, i+1, 6, 6, 235960)
	if !ok {
		return 0
	}
	return offset(text, fraction(text, i))
}

// dayFirst is the end of a date that begins with a day, or a month's number, of n digits.
func dayFirst(text string, at, n int) int {
	i := at + n
	if !is(text, i, "/.- ") {
		return 0
	}
	separator := text[i]
	if end := month(text, i+1); end > 0 {
		if !is(text, end, "/- ") || text[end] != separator {
			return 0
		}
		if year := year(text, end+1); year > 0 {
			return timeAfter(text, year, " :")
		}
		return 0
	}
	i, ok := number(text, i+1, 1, 2, 31)
	if !ok || separator == ' ' || i >= len(text) || text[i] != separator {
		return 0
	}
	if i, ok = number(text, i+1, 4, 4, 9999); !ok {
		return 0
	}
	return timeAfter(text, i, " T")
}

// year is the end of a year of two or four digits.
func year(text string, at int) int {
	end := while(text, at, isDigit)
	if n := end - at; n == 4 || n == 2 {
		return end
	}
	return 0
}

// timeAfter is the end of the time of day that one of the separators parts from a date,
// and of its zone; the date's end if none follows.
func timeAfter(text string, at int, separators string) int {
	if !is(text, at, separators) {
		return at
	}
	end := clock(text, at+1, false)
	if end == 0 {
		return at
	}
	return offset(text, end)
}

// clock is the end of a time of day: HH:MM, with seconds and their fraction.
func clock(text string, at int, seconds bool) int {
	i, ok := number(text, at, 1, 2, 24)
	if !ok || !is(text, i, ":") {
		return 0
	}
	if i, ok = number(text, i+1, 2, 2, 59); !ok {
		return 0
	}
	if is(text, i, ":") {
		end, ok := number(text, i+1, 2, 2, 60)
		if !ok || is(text, end, ":") {
			return 0
		}
		return meridiem(text, fraction(text, end))
	}
	if seconds {
		return 0
	}
	return meridiem(text, i)
}

func fraction(text string, at int) int {
	if is(text, at, ".,") {
		if end := while(text, at+1, isDigit); end > at+1 {
			return end
		}
	}
	return at
}

func meridiem(text string, at int) int {
	i := at
	if is(text, i, " ") {
		i++
	}
	if is(text, i, "AaPp") && is(text, i+1, "Mm") && ends(text, i+2) {
		return i + 2
	}
	return at
}

// zones are the names of time zones.
var zones = [...]string{"UTC", "GMT", "CET", "CEST", "BST", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "IST", "JST", "MSK"}

// offset is the end of the zone, and of Go's monotonic clock, after a time of day.
func offset(text string, at int) int {
	if is(text, at, "Zz") {
		return at + 1
	}
	i := at
	if is(text, i, " ") {
		i++
	}
	if end := numericZone(text, i); end > 0 {
		at, i = end, end
		if is(text, i, " ") {
			i++
		}
	}
	for _, z := range zones {
		if strings.HasPrefix(text[i:], z) && ends(text, i+len(z)) {
			at = i + len(z)
			break
		}
	}
	return monotonic(text, at)
}

func numericZone(text string, at int) int {
	if !is(text, at, "+-") {
		return 0
	}
	i, ok := number(text, at+1, 2, 2, 14)
	if ok && is(text, i, ":") {
		i, ok = number(text, i+1, 2, 2, 59)
	} else if i, ok = number(text, at+1, 4, 4, 1459); !ok {
		return 0
	}
	if !ok || !ends(text, i) || is(text, i, ":") {
		return 0
	}
	return i
}

func monotonic(text string, at int) int {
	const sign = " m="
	if !strings.HasPrefix(text[at:], sign) || !is(text, at+len(sign), "+-") {
		return at
	}
	begin := at + len(sign) + 1
	if end := decimal(text, begin); end > begin && ends(text, end) {
		return end
	}
	return at
}

var (
	months = [...]string{
		"January", "February", "March", "April", "June", "July", "August", "September", "October", "November", "December",
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Sep", "Oct", "Nov", "Dec",
	}
	days = [...]string{
		"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
		"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
	}
)

// month is the end of a month's name.
func month(text string, at int) int { return name(text, at, months[:]) }

func name(text string, at int, names []string) int {
	if at >= len(text) || !isUpper(text[at]) {
		return 0
	}
	for _, n := range names {
		if strings.HasPrefix(text[at:], n) && ends(text, at+len(n)) {
			return at + len(n)
		}
	}
	return 0
}

// matchNamedDate is the end of a date that begins with the name of a day or month.
func matchNamedDate(text string, at int) int {
	if strings.IndexByte("JFMASONDTW", text[at]) < 0 {
		return 0
	}
	if day := name(text, at, days[:]); day > 0 {
		if is(text, day, ",") {
			day++
		}
		at = spaces(text, day)
		if at == day || at >= len(text) {
			return 0
		}
		if isDigit(text[at]) {
			return matchTime(text, at)
		}
	}
	end := month(text, at)
	if end == 0 {
		return 0
	}
	if end = monthFirst(text, end); end == 0 || !ends(text, end) {
		return 0
	}
	return end
}

// spaces is the end of one or two spaces.
func spaces(text string, at int) int {
	for range 2 {
		if is(text, at, " ") {
			at++
		}
	}
	return at
}

// monthFirst is the end of a date whose month has been read.
func monthFirst(text string, at int) int {
	i := spaces(text, at)
	if i == at {
		return 0
	}
	i, ok := number(text, i, 1, 2, 31)
	if !ok {
		return 0
	}
	comma := i
	if is(text, comma, ",") {
		comma++
	}
	if is(text, comma, " ") {
		if end, ok := number(text, comma+1, 4, 4, 9999); ok {
			return timeAfter(text, end, " ")
		}
	}
	end := timeAfter(text, i, " ")
	if end > i && is(text, end, " ") {
		if year, ok := number(text, end+1, 4, 4, 9999); ok {
			return year
		}
	}
	return end
}

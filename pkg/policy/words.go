package policy

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
)

// codeName is the name of a google.rpc.Code.
func codeName(c int) string {
	if name, ok := code.Code_name[int32(c)]; ok && int(int32(c)) == c {
		return name
	}
	return "code " + strconv.Itoa(c)
}

// span is a duration for people, in the largest unit that it fills, with one
// decimal: 10 ms, 3.4 s, 2 min, 1.5 h, 7 days.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "-" + span(-max(d, -math.MaxInt64))
	case d == 0:
		return "0 s"
	}
	// Up to where a unit is used, less what its rounding adds.
	for _, u := range []struct {
		limit, unit time.Duration
		name        string
	}{
		{time.Second, time.Millisecond, "ms"},
		{time.Minute, time.Second, "s"},
		{time.Hour, time.Minute, "min"},
		{2 * day, time.Hour, "h"},
	} {
		if d < u.limit-u.unit/20 {
			return decimal(d, u.unit) + " " + u.name
		}
	}
	return decimal(d, day) + " days"
}

// decimal rounds to tenths; only what is less than one tenth has more digits.
func decimal(d, unit time.Duration) string {
	n := float64(d) / float64(unit)
	if n >= 0.1 {
		n = math.Round(n*10) / 10
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

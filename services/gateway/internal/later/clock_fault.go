//go:build faultclock

package later

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Clock tells the time by which tasks and schedules are due. For tests of what a
// clock that jumps does: it is off the machine's by the seconds in the file that
// the environment names as FAULT_CLOCK, which is read each time; by none if
// there is no such file, or no number in it.
func Clock() func() time.Time {
	file := os.Getenv("FAULT_CLOCK")
	return func() time.Time {
		now := time.Now()
		text, err := os.ReadFile(file)
		if err != nil {
			return now
		}
		seconds, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return now
		}
		// Less the monotonic reading, which would not jump.
		return now.Round(0).Add(time.Duration(seconds) * time.Second)
	}
}

//go:build !faultclock

package later

import "time"

// Clock tells the time by which tasks and schedules are due: the machine's.
func Clock() func() time.Time { return time.Now }

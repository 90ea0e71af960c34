//go:build race

package later

import "time"

// many is how many tasks of one type are due, several how many of each where there
// are some types, few where there are many; soon is within what those of others are
// published. The race detector makes the store slow. One type's are still more than its
// line holds, and those of many types together more than the loop holds.
const (
	many    = 3_500
	several = 1_500
	few     = 300
	soon    = 20 * time.Second
)

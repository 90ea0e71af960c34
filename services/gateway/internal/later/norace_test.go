//go:build !race

package later

import "time"

// many is how many tasks of one type are due, several how many of each where there
// are some types, few where there are many; soon is within what those of others are
// published.
const (
	many    = 50_500
	several = 3_000
	few     = 1_000
	soon    = 3 * time.Second
)

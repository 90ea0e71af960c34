//go:build race

package later

import "time"

// many is how many tasks of one type are due, soon within what those of others are
// published. The race detector makes the store slow.
const (
	many = 5_500
	soon = 20 * time.Second
)

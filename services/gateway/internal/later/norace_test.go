//go:build !race

package later

import "time"

// many is how many tasks of one type are due, soon within what those of others are
// published.
const (
	many = 50_500
	soon = time.Second
)

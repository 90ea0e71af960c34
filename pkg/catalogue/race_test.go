//go:build race

package catalogue_test

import "time"

// soon is within what rules are checked that may take long; the race detector makes
// them several times slower.
const soon = 20 * time.Second

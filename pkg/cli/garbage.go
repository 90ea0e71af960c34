package cli

import (
	"os"
	"runtime/debug"
)

// garbagePercent is the heap's growth, as a share of what is in use, after which
// garbage is collected; Go's own default is 100.
const garbagePercent = 400

// CollectLess has a service collect garbage less often than Go does by default:
// most of what it makes is gone soon, and it keeps little. GOGC, if it is set,
// stays in force.
func CollectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}

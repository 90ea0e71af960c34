package projection

import "time"

// parkTimeout bounds one try to set something aside.
const parkTimeout = 5 * time.Second

// maxFaults is how often an event on its own is tried when the store fails in
// an unknown way.
const maxFaults = 5

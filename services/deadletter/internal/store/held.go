package store

// Held is something that waits to be judged, in an encoding of the caller's.
type Held struct {
	// Sequence is its place in the order in which they were stored; the store
	// sets it.
	Sequence int64
	// Key is what it is known by; unique.
	Key string
	// Data is not empty.
	Data []byte
}

package api

import "github.com/warrenmq/warren/services/deadletter/internal/store"

// defaultSample is of how many members a preview tells the verdict.
const defaultSample = 20

// sampleOf takes so many members, at the same distances; 0 is the default.
func sampleOf(members []store.Member, size int32) []store.Member {
	n := int(size)
	if n == 0 {
		n = defaultSample
	}
	if len(members) <= n {
		return members
	}
	sample := make([]store.Member, n)
	for i := range sample {
		sample[i] = members[i*len(members)/n]
	}
	return sample
}

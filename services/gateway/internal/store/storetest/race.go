//go:build race

package storetest

// many is how many tasks are due where many are: fewer, since the race detector
// makes engines slow.
const many = 2_000

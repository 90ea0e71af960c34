//go:build !race

package storetest

// many is how many tasks are due where many are.
const many = 10_000

//go:build !race

package sqlite

// many is how many tasks a store has that has many.
const many = 100_000

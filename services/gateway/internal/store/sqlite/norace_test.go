//go:build !race

package sqlite

// many is how many tasks a store has that has many.
const many = 100_000

// Checks is how many times properties are checked, each time in another way.
const Checks = 100

//go:build race

package sqlite

// many is how many tasks a store has that has many: fewer, since the race
// detector makes SQLite thirty times slower.
const many = 5_000

// Checks is how many times properties are checked, each time in another way.
const Checks = 40

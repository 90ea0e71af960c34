//go:build race

package sqlite

// many is how many tasks a store has that has many: fewer, since the race
// detector makes SQLite thirty times slower.
const many = 20_000

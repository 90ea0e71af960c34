// Package noop is the work that the benchmark has done: a gRPC service whose one
// method does nothing, and the reports that its worker sends to the benchmark.
//
// The worker runs in a process of its own. It reports as few lines as it can: one
// when all tasks of a batch have reached their handler, or one for each start
// where the times of starts are what is measured.
package noop

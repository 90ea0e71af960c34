// Package noop is the work that the benchmark has done: a gRPC service whose one
// method does nothing, or waits, or fails once, as its payload orders, and the
// reports that its worker sends to the benchmark.
//
// The worker runs in a process of its own. It reports as few lines as it can: of
// a batch one when all its tasks have reached their handler and two on the way
// there, or one for each start where the times of starts are what is measured.
package noop

//go:build unix

// Package process runs programs as children with their output in files, and
// stops them: asked first, made to after a bound.
//
// A child is in a process group of its own, so that Ctrl-C in a terminal
// reaches this process alone, which then stops its children in order. On Linux
// a child is killed when this process ends in whatever way; elsewhere it
// outlives a kill -9 of its parent.
package process

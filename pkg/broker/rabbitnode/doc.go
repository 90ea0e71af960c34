//go:build unix

// Package rabbitnode obtains RabbitMQ 4.3 and runs real nodes and clusters of it as child processes on loopback, for
// demonstrations, benchmarks and tests on machines without Docker.
//
// [Find] locates RabbitMQ on PATH or, as root on Debian and Ubuntu, installs it once into a folder of its own; the
// machine's packages stay as they are, but for debootstrap. [Install.Start] runs one node, [Install.StartCluster] several.
//
// Two rules hold for every process that this package starts. It listens on 127.0.0.1 only (epmd also on ::1). And it dies
// with the process that started it, even when that one is killed with SIGKILL: a small shell outside the node's process
// group holds a pipe from the parent and kills the group when the pipe closes.
//
// The package runs on Unix alone.
package rabbitnode

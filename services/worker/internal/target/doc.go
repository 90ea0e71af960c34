// Package target is the connection to the gRPC servers that carry out tasks: one
// or several of them, balanced and watched over by gRPC's own means.
package target

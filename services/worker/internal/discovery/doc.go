// Package discovery learns which services a target has: by gRPC reflection, or
// from a file with their descriptors.
package discovery

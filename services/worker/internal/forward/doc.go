// Package forward carries out tasks by calling a gRPC server. Messages pass as
// bytes.
package forward

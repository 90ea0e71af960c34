// Package calls answers calls of registered methods, made with the user's own stubs,
// as tasks: a call is a submission, and its answer the handler's. It uses no more of
// grpc-go than grpc.UnknownServiceHandler and raw messages.
//
// A caller's deadline, or the end of its connection, bounds its wait and never the
// task, unless it asks for that.
package calls

package store

// Call is a caller's request for a change: who asks, and why. It is audited in the
// transaction of the change. The zero value is the service itself, whose changes are no
// audit events.
type Call struct {
	// Method is the RPC, e.g. `CreateReplay`.
	Method string
	// Actor is who: the subject of a certificate, or `unauthenticated`.
	Actor string
	// Peer is the caller's address.
	Peer string
	// Reason is what the caller said.
	Reason string
	// Trace is the W3C traceparent of the call, or empty.
	Trace string
}

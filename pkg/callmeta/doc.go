// Package callmeta has the gRPC metadata that makes a call of a user's method at the
// gateway the task that its caller wants: what the keys are, and how their values
// are written and read. Clients write it, the gateway reads it.
//
//	warren-mode                  async: answer as soon as the task is accepted, with an
//	                             empty message; sync, the default: answer when it ends
//	warren-priority              1 to 9, or LOW, NORMAL, HIGH, CRITICAL
//	warren-delay                 a duration as of [time.ParseDuration]: 90s, 1h30m
//	warren-expire                a duration from now, or a time by RFC 3339; no attempt
//	                             starts after it
//	warren-labels                KEY=VALUE,KEY=VALUE; each KEY and VALUE is escaped as in
//	                             the query of a URL
//	warren-max-attempts          1 to 1000
//	warren-idempotency-key       at most 256 bytes of UTF-8; what is no printable ASCII,
//	                             and % itself, as %XX
//	warren-cancel-on-disconnect  true: who cancels the call cancels the task
//	warren-headers               late: the response's header waits for the handler's own
//	                             headers, which come as trailers else
//
// Every key is given once at most, and none is empty. [KeyTaskID], [KeyRun] and
// [KeyAttempt], which handlers receive, mean nothing in a call: a handler may pass
// its metadata on.
package callmeta

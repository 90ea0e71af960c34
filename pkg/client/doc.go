// Package client calls Warren's gateways from Go.
//
// A [Client] is a grpc.ClientConnInterface: a stub that protoc-gen-go-grpc generated
// works on it as it is, and each call of it is a task. Its answer is the handler's:
// message, status with details, headers and trailers.
//
//	c, err := client.New("127.0.0.1:7070")
//	…
//	images := imagepb.NewImageServiceClient(c)
//	answer, err := images.Resize(ctx, req, client.WithPriority(client.PriorityHigh))
//
// The context's deadline, its cancelling and a lost connection end the wait, and never
// the task. [TaskID] tells its id even then, and with [WithIdempotencyKey] the same
// call joins the task again. [Submit] does not wait, and returns a [Task]: to wait for
// the typed result, to watch, to cancel.
//
// # What is called again
//
// Calls that failed UNAVAILABLE are made again by themselves where that is safe:
//
//   - Reads, such as GetTask, WaitTask and ListTasks, and CancelTask, up to 5 times, by
//     gRPC's own retry policy, which is in [ServiceConfig].
//   - A durable call, or a submission, of which the gateway says that nothing was
//     submitted: its reason is NOT_SUBMITTED, and no header had a task's id.
//   - A durable call or a submission with an idempotency key, also after its connection
//     was lost or its gateway stopped: it joins its task. A stream is not joined.
//     With [CancelOnDisconnect] that task may be cancelled by then, and the call ends so.
//   - A submission by [Submit] that the gateway could not confirm, UNAVAILABLE with
//     reason SUBMISSION_UNKNOWN: under the id that the answer has.
//   - [Client.Wait] and [Client.Watch] go on until the task's end or the context's.
//
// A call without a key whose connection was lost is not: it may have been submitted.
// So the service config has no retry policy for users' methods: gRPC can't tell the
// cases apart, and would take a task that failed UNAVAILABLE for a call that did. Who
// applies one nevertheless is safe from the moment on at which the response's header
// arrives, after which gRPC does not retry; that header goes out when the task is
// accepted, and only what is lost between the two becomes a second task. Without a
// key, [LateHeaders] gives that up.
package client

// Package worker runs ordinary gRPC handlers on tasks from RabbitMQ.
//
// A [Worker] is a grpc.ServiceRegistrar: what a generated Register…Server
// function registers on it carries out tasks, one task type per method.
//
//	w, err := worker.New(worker.Config{})
//	…
//	imagepb.RegisterImageServiceServer(w, &imageServer{})
//	err = w.Run(ctx)
//
// Delivery is at least once: a handler may be started again for the same task
// after a crash or a lost connection, and sees which attempt it is by
// [task.FromContext]. A delivery is settled only when its outcome is confirmed
// in the status queue.
//
// Operators steer a worker while it runs, by way of the gateways: they pause a
// type, change how many of its tasks run at once, cancel tasks, and drain the
// worker. The context of a handler whose task is cancelled ends with a cause that
// is [task.ErrCancelled]. A worker takes no task on a connection before a gateway
// has told it what is cancelled.
//
// Handlers run outside a grpc.Server: grpc.SetHeader, grpc.SendHeader,
// grpc.SetTrailer and grpc.Method work, grpc.SetSendCompressor does not, and no
// stats handler is called. The headers and trailers that a handler has set come
// back with its outcome, at most [task.MaxResponseMetadata] bytes of each and
// only what [task.Travels] allows.
package worker

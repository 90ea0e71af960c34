// Package workertest runs one handler on one task, for unit tests of handlers:
// there is no broker and no gateway, and nothing listens.
//
//	res := workertest.Run(t, func(r grpc.ServiceRegistrar) {
//		imagepb.RegisterImageServiceServer(r, &imageServer{})
//	}, imagepb.ImageService_Resize_FullMethodName, &imagepb.ResizeRequest{…},
//		workertest.Attempt(2))
//	require.Equal(t, task.StateSucceeded, res.State)
//
// The handler is called by package worker itself, with its interceptors, limits,
// timeouts and recovery of panics, and the method's own retry policy decides what
// follows. What a gateway would refuse fails the test: a method that is no task
// type, options that make no sense, a request of another type.
//
// What belongs to a queue is left out: a task that runs alone after crashes, start
// permits, a lost connection. Time is the process's own, so that tests of timeouts
// and delays take no time within testing/synctest.
package workertest

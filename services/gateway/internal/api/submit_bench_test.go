package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// BenchmarkSubmissions compares the ways to submit, each at a broker where nobody
// works: 64 calls at a time, batches of 100 and one stream, with and without
// idempotency keys. One operation is one task, or one batch.
func BenchmarkSubmissions(b *testing.B) {
	for name, key := range map[string]func() string{"": func() string { return "" }, "-with-keys": task.NewID} {
		next := func() *taskv1.SubmitTaskRequest { return keyed(b, key()) }
		b.Run("calls"+name, func(b *testing.B) {
			service, _, _ := newBrokerService(b)
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := service.SubmitTask(b.Context(), next()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		b.Run("batches"+name, func(b *testing.B) {
			service, _, _ := newBrokerService(b)
			const size = 100
			for b.Loop() {
				requests := make([]*taskv1.SubmitTaskRequest, size)
				for i := range requests {
					requests[i] = next()
				}
				r, err := service.BatchSubmitTasks(b.Context(), batchOf(requests...))
				require.NoError(b, err)
				require.NotNil(b, r.Results[size-1].GetResponse())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/task")
		})
		b.Run("stream"+name, func(b *testing.B) {
			service, _, _ := newBrokerService(b)
			stream := submitTasks(b, service.TaskService)
			go func() {
				for range b.N {
					if stream.Send(&taskv1.SubmitTasksRequest{Request: next()}) != nil {
						return
					}
				}
				_ = stream.CloseSend()
			}()
			receive(b, stream, 0, b.N)
		})
	}
}

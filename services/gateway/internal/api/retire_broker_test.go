package api

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/gateway/internal/registry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const typeGone = taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND

// held is a publisher whose first call waits before it publishes.
type held struct {
	Publisher
	first             sync.Once
	arrived, released chan struct{}
}

func (h *held) PublishTasks(ctx context.Context, ms []*broker.TaskMessage, outcome func(int, error), checks ...broker.Check) {
	h.first.Do(func() {
		close(h.arrived)
		<-h.released
	})
	h.Publisher.PublishTasks(ctx, ms, outcome, checks...)
}

// retiring has a registry that knows the same types run until the test ends.
func retiring(t *testing.T, service *brokerService, s store.Store) *registry.Registry {
	t.Helper()
	r := registry.New(registry.Config{
		GatewayID: "g-1", Names: names, Catalogue: service.cfg.Catalogue, Store: s, Topology: service.consume, Logger: quiet(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	brokertest.Eventually(t, patience, r.Loaded)
	service.cfg.Redeclare = r.Redeclare
	return r
}

// A submission that is under way while its type is retired is refused, and brings
// nothing back; whether the queue takes nothing any more, or is gone.
func TestASubmissionDoesNotUndoARetirement(t *testing.T) {
	t.Parallel()
	for name, whileClosed := range map[string]bool{"closed": true, "gone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service, s, b := newBrokerService(t)
			r := retiring(t, service, s)
			publisher := &held{Publisher: service.cfg.Publisher, arrived: make(chan struct{}), released: make(chan struct{})}
			service.cfg.Publisher = publisher
			submitted := make(chan error, 1)
			go func() {
				_, err := service.SubmitTask(context.Background(), request(t))
				submitted <- err
			}()
			<-publisher.arrived
			refused := func() { requireReason(t, <-submitted, codes.NotFound, typeGone) }
			found, err := r.Retire(t.Context(), store.Retirement{TaskType: typeDelay, Reason: "a test", Time: time.Now()}, func(context.Context) error {
				if whileClosed {
					close(publisher.released)
					refused()
				}
				return nil
			})
			require.NoError(t, err)
			require.True(t, found)
			if !whileClosed {
				close(publisher.released)
				refused()
			}
			for _, q := range b.Queues(t) {
				require.NotEqual(t, names.Work(typeDelay), q.Name)
			}
		})
	}
}

// The store does not keep a task of a retired type for later, though the gateway does
// not know yet that it is; others of the same call are kept.
func TestNothingOfARetiredTypeIsKeptForLater(t *testing.T) {
	t.Parallel()
	service, s, _ := newLater(t, stopped())
	require.NoError(t, s.RetireType(t.Context(), store.Retirement{
		TaskType: typeDelay, Method: "/demo.v1.FaultService/Delay", Forget: []string{"/demo.v1.FaultService/Delay"}, Time: time.Now(),
	}))
	late, other := request(t), failRequest(t)
	late.Delay, other.Delay = durationpb.New(time.Hour), durationpb.New(time.Hour)
	_, err := service.SubmitTask(t.Context(), late)
	requireReason(t, err, codes.NotFound, typeGone)
	r, err := service.BatchSubmitTasks(t.Context(), batchOf(late, other))
	require.NoError(t, err)
	requireItem(t, r.Results[0], codes.NotFound, typeGone)
	require.NotNil(t, r.Results[1].GetResponse(), "%v", r.Results[1])
}

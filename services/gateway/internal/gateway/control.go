package gateway

import (
	"context"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/services/gateway/internal/control"
)

// backlogTimeout bounds the question how many tasks wait in a queue.
const backlogTimeout = time.Second

// newControl makes the control. It needs the registry, which needs it too.
func (g *gateway) newControl(gatewayID string) *control.Control {
	return control.New(control.Config{
		GatewayID: gatewayID, Store: g.store, Controller: g.publisher, Topology: g.consume, Projection: g.projection,
		Policies: func(workerID string, types []string) []*brokerv1.TypePolicy {
			return g.registry.Policies(workerID, types)
		},
		Tell:    func(ctx context.Context, taskType string) error { return g.registry.TellWorkers(ctx, taskType) },
		Backlog: g.backlog, Logger: g.cfg.Logger,
	})
}

// backlog is how many tasks wait in the queue of a type, ready to be delivered.
func (g *gateway) backlog(ctx context.Context, taskType string) (int64, bool) {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	// Buffered, because Do may return while f still waits for the broker.
	ready := make(chan int, 1)
	err := g.consume.Do(ctx, func(t *broker.Topology) error {
		n, err := t.Depth(taskType)
		if err == nil {
			ready <- n
		}
		return err
	})
	if err != nil {
		return 0, false
	}
	return int64(<-ready), true
}

package gateway

import (
	"context"
	"fmt"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/services/gateway/internal/admin"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
)

// makeQueues makes what reads queues, and the client of the management API if there
// is one.
func (g *gateway) makeQueues(names broker.Names) error {
	c := queues.Config{Names: names, Topology: g.consume, Store: g.store}
	if g.cfg.ManagementURL != "" {
		var err error
		if g.management, err = management.New(g.cfg.ManagementURL, g.cfg.Broker.VHost()); err != nil {
			return fmt.Errorf("--management-url: %w", err)
		}
		c.Management = g.management
	}
	g.queues = queues.New(c)
	return nil
}

// openTaker opens a taker of the queue of a task type.
func (g *gateway) openTaker(ctx context.Context, taskType string) (admin.Taker, error) {
	return broker.OpenTaker(ctx, g.cfg.Broker, taskType)
}

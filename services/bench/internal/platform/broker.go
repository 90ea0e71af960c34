//go:build unix

package platform

import (
	"context"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
	"github.com/warrenmq/warren/services/bench/internal/usage"
)

// Broker is the RabbitMQ that is measured.
type Broker struct {
	// URL is a node's.
	URL string

	node *rabbitnode.Node
}

// GetBroker gives the broker at the URL or, where that is empty, starts a node
// whose data vanish when it is closed. Log is told what takes long.
func GetBroker(ctx context.Context, url string, log func(format string, args ...any)) (*Broker, error) {
	if url != "" {
		return &Broker{URL: url}, nil
	}
	install, err := rabbitnode.Find(ctx, log)
	if err != nil {
		return nil, err
	}
	node, err := install.Start(ctx, rabbitnode.NodeConfig{})
	if err != nil {
		return nil, err
	}
	return &Broker{URL: node.URL(), node: node}, nil
}

// Close ends the node if GetBroker started it.
func (b *Broker) Close() error {
	if b.node == nil {
		return nil
	}
	if err := b.node.Close(); err != nil {
		return fmt.Errorf("close the broker: %w", err)
	}
	return nil
}

// meter is nil for a broker that was given: its process may be anywhere.
func (b *Broker) meter() usage.Meter {
	if b.node == nil {
		return nil
	}
	return func() (time.Duration, error) { return usage.Group(b.node.Pid()) }
}

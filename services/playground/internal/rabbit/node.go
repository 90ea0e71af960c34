//go:build unix

package rabbit

import (
	"context"
	"errors"
	"fmt"

	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
	"github.com/warrenmq/warren/pkg/ports"
)

// startNode runs RabbitMQ as a child process, which ends with this one.
func startNode(ctx context.Context, cfg Config) (*Broker, error) {
	install, err := rabbitnode.Find(ctx, cfg.Log)
	if err != nil {
		return nil, err
	}
	node, err := install.Start(ctx, rabbitnode.NodeConfig{
		AMQPPort: wantedPort(ctx, cfg),
		DataDir:  cfg.DataDir,
	})
	if err != nil {
		return nil, err
	}
	return &Broker{
		URLs:   []string{node.URL()},
		Origin: fmt.Sprintf("RabbitMQ %s, started here", install.Version),
		stop: func(ctx context.Context) error {
			if !cfg.Keep {
				return node.Close()
			}
			return errors.Join(node.Stop(ctx), node.Close())
		},
		log: cfg.Log,
	}, nil
}

// wantedPort is the configured port if it is free, or else 0, which is any.
func wantedPort(ctx context.Context, cfg Config) int {
	if cfg.Port == 0 || ports.Free(ctx, cfg.Port) {
		return cfg.Port
	}
	cfg.Log("port %d is in use, so another one", cfg.Port)
	return 0
}

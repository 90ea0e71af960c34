//go:build unix

package rabbitnode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Cluster is several nodes that form one broker.
type Cluster struct {
	// Nodes are the members, in the order of their names. Each may be killed, stopped, paused and restarted by itself; a
	// minority of them can be down at a time.
	Nodes []*Node

	epmd *epmd
}

// StartCluster runs n nodes that form one cluster, and returns once all are ready and know each other. The fields of the
// configuration hold for each node, as described there. The context bounds the start only. The caller must Close the
// cluster.
func (i Install) StartCluster(ctx context.Context, n int, cfg NodeConfig) (*Cluster, error) {
	if n < 1 {
		return nil, fmt.Errorf("starting a cluster of %d nodes: want at least 1", n)
	}
	mapper, err := i.startEpmd(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{epmd: mapper}
	if err := c.prepare(ctx, i, n, cfg); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a cluster of RabbitMQ %s: %w", i.Version, err), c.Close())
	}
	return c, nil
}

func (c *Cluster) prepare(ctx context.Context, i Install, n int, cfg NodeConfig) error {
	cookie := rand.Text()
	prefix := cfg.Name
	if prefix == "" && cfg.DataDir == "" {
		prefix = "warren-" + strings.ToLower(rand.Text()[:10])
	}
	for number := 1; number <= n; number++ {
		member, err := i.prepare(ctx, memberConfig(cfg, prefix, number), c.epmd, cookie)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, member)
	}
	return nil
}

// memberConfig gives the member its part of what the configuration fixes for the whole cluster.
func memberConfig(cfg NodeConfig, prefix string, number int) NodeConfig {
	if prefix != "" {
		cfg.Name = fmt.Sprintf("%s-%d", prefix, number)
	}
	if cfg.DataDir != "" {
		cfg.DataDir = filepath.Join(cfg.DataDir, fmt.Sprintf("node-%d", number))
	}
	if cfg.AMQPPort != 0 {
		cfg.AMQPPort += number - 1
	}
	if cfg.ManagementPort != 0 {
		cfg.ManagementPort += number - 1
	}
	return cfg
}

// start runs all members at once: they find each other by their configuration.
func (c *Cluster) start(ctx context.Context) error {
	peers := make([]string, len(c.Nodes))
	for i, member := range c.Nodes {
		peers[i] = member.Name()
	}
	starts, startCtx := errgroup.WithContext(ctx)
	for _, member := range c.Nodes {
		starts.Go(func() error {
			if err := member.firstStart(startCtx, peers); err != nil {
				return fmt.Errorf("starting %s: %w", member.Name(), err)
			}
			return nil
		})
	}
	if err := starts.Wait(); err != nil {
		return err
	}
	return c.awaitMembers(ctx, peers)
}

// awaitMembers checks what rabbitmq.conf asked for: that every node runs in one cluster with all others.
func (c *Cluster) awaitMembers(ctx context.Context, peers []string) error {
	_, err := c.Nodes[0].Ctl(ctx, "await_online_nodes", fmt.Sprint(len(peers)))
	if err != nil {
		return fmt.Errorf("waiting until %s are one cluster: %w", strings.Join(peers, ", "), err)
	}
	return nil
}

// URLs returns the AMQP URLs of the nodes, in the order of Nodes.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.Nodes))
	for i, member := range c.Nodes {
		urls[i] = member.URL()
	}
	return urls
}

// Close closes every node and ends their epmd. Closing twice does nothing.
func (c *Cluster) Close() error {
	var errs []error
	for _, member := range c.Nodes {
		errs = append(errs, member.Close())
	}
	return errors.Join(append(errs, c.epmd.close())...)
}

//go:build unix

package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// A classic queue whose node is down is neither there nor missing.
func TestAControlQueueOutOfReach(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartCluster(t, 3, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, cluster.Nodes[0])
	near := broker.NewConnection(configOf(t, b.URL), "near", nil)
	far := broker.NewConnection(configOf(t, b.Via(t, cluster.Nodes[2]).URL), "far", nil)
	run(t, near.Run)
	stop := run(t, far.Run)
	ctx := bounded(t)
	require.NoError(t, near.Do(ctx, func(topology *broker.Topology) error { return topology.DeclareShared() }))
	require.NoError(t, far.Do(ctx, func(topology *broker.Topology) error { return topology.DeclareControl("w1", 1, nil) }))
	count := func(link int) error {
		return near.Do(context.WithoutCancel(ctx), func(topology *broker.Topology) error {
			_, err := topology.ControlConsumers("w1", link)
			return err
		})
	}
	require.NoError(t, count(1))
	stop()
	require.NoError(t, cluster.Nodes[2].Stop(t.Context()))
	begin := time.Now()
	err := count(1)
	t.Log(time.Since(begin), err)
	require.ErrorIs(t, err, broker.ErrUnreachable)
	require.NotErrorIs(t, err, broker.ErrMissing)
	require.ErrorIs(t, count(2), broker.ErrMissing)
	require.NoError(t, cluster.Nodes[2].Restart(t.Context()))
}

//go:build unix

package rabbitnode_test

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

func TestClusterSurvivesTheDeathOfAQueuesLeader(t *testing.T) {
	t.Parallel()
	began := time.Now()
	cluster, err := find(t).StartCluster(t.Context(), 3, rabbitnode.NodeConfig{Management: true})
	require.NoError(t, err)
	t.Logf("a cluster of three started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { assert.NoError(t, cluster.Close()) })
	require.Len(t, cluster.URLs(), 3)

	b := brokertest.VHostOn(t, cluster.Nodes[0])
	b.DeclareQuorumQueue(t, "q", nil)
	for _, node := range cluster.Nodes {
		require.NoError(t, node.Sync(t.Context()))
	}
	const published = 20
	for i := range published {
		b.Publish(t, "", "q", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)})
	}
	leader, survivor := split(t, cluster, b)
	require.NoError(t, leader.Kill())

	after := b.Via(t, survivor)
	after.Publish(t, "", "q", amqp.Publishing{Body: []byte("after")})
	messages := after.Drain(t, "q")
	require.Len(t, messages, published+1)
	assert.Equal(t, "after", string(messages[published].Body))

	require.NoError(t, leader.Restart(t.Context()))
	_, err = survivor.Ctl(t.Context(), "await_online_nodes", "3")
	require.NoError(t, err)
	b.Via(t, leader).Publish(t, "", "q", amqp.Publishing{Body: []byte("through the restarted node")})
	assert.Len(t, after.Drain(t, "q"), 1)
}

// split returns the node that leads the queue, which has a member on each node, and one that does not.
func split(t *testing.T, cluster *rabbitnode.Cluster, b brokertest.Broker) (leader, survivor *rabbitnode.Node) {
	t.Helper()
	var q brokertest.QueueInfo
	brokertest.Eventually(t, 30*time.Second, func() error {
		if q = b.Queue(t, "q"); q.Leader == "" || len(q.Members) != 3 {
			return fmt.Errorf("leader %q, members %v", q.Leader, q.Members)
		}
		return nil
	})
	for _, node := range cluster.Nodes {
		if node.Name() == q.Leader {
			leader = node
		} else {
			survivor = node
		}
	}
	require.NotNil(t, leader)
	return leader, survivor
}

func TestClusterNeedsANode(t *testing.T) {
	t.Parallel()
	_, err := find(t).StartCluster(t.Context(), 0, rabbitnode.NodeConfig{})
	require.Error(t, err)
}

//go:build unix

package brokertest_test

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

func TestAlarmBlocksPublishers(t *testing.T) {
	t.Parallel()
	node := brokertest.StartNode(t, rabbitnode.NodeConfig{})
	conn, err := amqp.Dial(node.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	notices := conn.NotifyBlocked(make(chan amqp.Blocking, 4))
	channel, err := conn.Channel()
	require.NoError(t, err)

	end := brokertest.Alarm(t, node)
	require.NoError(t, channel.PublishWithContext(t.Context(), "", "nowhere", false, false, amqp.Publishing{}))
	requireNotice(t, notices, true)
	end()
	requireNotice(t, notices, false)
}

func requireNotice(t *testing.T, notices <-chan amqp.Blocking, active bool) {
	t.Helper()
	select {
	case notice := <-notices:
		require.Equal(t, active, notice.Active, notice.Reason)
	case <-time.After(within):
		t.Fatalf("no notice of blocking=%t", active)
	}
}

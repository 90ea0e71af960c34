//go:build unix

package brokertest_test

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

const within = 10 * time.Second

func TestVHostsAreSeparate(t *testing.T) {
	t.Parallel()
	one, other := brokertest.VHost(t), brokertest.VHost(t)
	one.DeclareQuorumQueue(t, "q", nil)
	assert.Len(t, one.Queues(t), 1)
	assert.Empty(t, other.Queues(t))
}

func TestVHostIsDeletedAfterTheTest(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("inner", func(t *testing.T) { url = brokertest.VHost(t).URL })
	_, err := amqp.Dial(url)
	require.Error(t, err)
}

func TestQueueShowsCountsAndArguments(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	b.DeclareQuorumQueue(t, "a/b c", amqp.Table{"x-delivery-limit": int32(7)})
	for i := range 3 {
		b.Publish(t, "", "a/b c", amqp.Publishing{Body: fmt.Append(nil, i)})
	}
	channel := b.Channel(t)
	_, ok, err := channel.Get("a/b c", false)
	require.NoError(t, err)
	require.True(t, ok)

	brokertest.Eventually(t, within, func() error {
		if q := b.Queue(t, "a/b c"); q.MessagesReady != 2 || q.MessagesUnacknowledged != 1 || q.Messages != 3 {
			return fmt.Errorf("counts are %+v", q)
		}
		return nil
	})
	q := b.Queue(t, "a/b c")
	assert.Equal(t, "quorum", q.Type)
	assert.EqualValues(t, 7, q.Arguments["x-delivery-limit"])

	require.NoError(t, channel.Close())
	brokertest.Eventually(t, within, func() bool { return b.Queue(t, "a/b c").MessagesReady == 3 })
	messages := b.Drain(t, "a/b c")
	require.Len(t, messages, 3)
	assert.Equal(t, "0", string(messages[0].Body))
	_, ok = b.Get(t, "a/b c")
	assert.False(t, ok)
}

func TestBindings(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	b.DeclareQuorumQueue(t, "q", nil)
	require.NoError(t, b.Channel(t).QueueBind("q", "key", "amq.direct", false, nil))
	bindings := b.Bindings(t)
	require.Len(t, bindings, 1)
	assert.Equal(t, "amq.direct", bindings[0].Source)
	assert.Equal(t, "q", bindings[0].Destination)
	assert.Equal(t, "key", bindings[0].RoutingKey)
}

func TestDeclareUserLimitsPermissions(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	b.DeclareQuorumQueue(t, "mine", nil)
	b.DeclareQuorumQueue(t, "theirs", nil)
	conn, err := amqp.Dial(b.DeclareUser(t, "reader-"+b.VHost, "p/w:d@1", "^$", "^$", "^mine$"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	require.NoError(t, err)
	_, _, err = channel.Get("mine", true)
	require.NoError(t, err)
	_, _, err = channel.Get("theirs", true)
	var refused *amqp.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, amqp.AccessRefused, refused.Code)
}

func TestPolicyComesAndGoes(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	b.DeclareQuorumQueue(t, "q", nil)
	b.SetPolicy(t, "limit", "^q$", "quorum_queues", map[string]any{"max-length": 5})
	brokertest.Eventually(t, within, func() bool { return b.Queue(t, "q").Policy == "limit" })
	assert.EqualValues(t, 5, b.Queue(t, "q").EffectivePolicy["max-length"])
	b.ClearPolicy(t, "limit")
	brokertest.Eventually(t, within, func() bool { return b.Queue(t, "q").Policy == "" })
}

func TestCloseConnectionsClosesThoseOfTheVHost(t *testing.T) {
	t.Parallel()
	b, other := brokertest.VHost(t), brokertest.VHost(t)
	conn, err := amqp.Dial(b.URL)
	require.NoError(t, err)
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	spared := other.Channel(t)

	assert.Equal(t, 1, b.CloseConnections(t, 1))
	select {
	case reason := <-closed:
		require.NotNil(t, reason)
		assert.Equal(t, amqp.ConnectionForced, reason.Code)
	case <-time.After(within):
		t.Fatal("the connection was not closed")
	}
	assert.False(t, spared.IsClosed())
}

//go:build unix

package broker_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func TestRequestsWaitForAnyGateway(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	require.NoError(t, p.PublishRequest(bounded(t), &brokerv1.WorkerRequest{}))
	got, ok := b.Get(t, names.Requests())
	require.True(t, ok)
	assert.Equal(t, "5000", got.Expiration)
	assert.NotEmpty(t, got.MessageId)

	// Without the queue a worker learns that no gateway has been there.
	_, err := b.Channel(t).QueueDelete(names.Requests(), false, false, false)
	require.NoError(t, err)
	require.ErrorIs(t, p.PublishRequest(bounded(t), &brokerv1.WorkerRequest{}), broker.ErrUnroutable)
}

func TestHeartbeatsReachEveryGateway(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	// That nobody listens is no error.
	require.NoError(t, p.PublishHeartbeat(bounded(t), &brokerv1.Heartbeat{}))
	var gateways []<-chan []broker.Delivery
	for _, id := range []string{"g1", "g2"} {
		gateways = append(gateways, consume(t, b.URL, broker.Subscription{
			Queue: names.Beats(id), Prefetch: 10,
			Declare: func(topology *broker.Topology) error { return topology.DeclareBeats(id) },
		}, nil))
	}
	brokertest.Eventually(t, within, func() bool {
		return len(b.Queues(t)) == 6
	})
	want := &brokerv1.Heartbeat{}
	brokertest.Eventually(t, within, func() bool {
		var bound int
		for _, binding := range b.Bindings(t) {
			if binding.RoutingKey == "beat" {
				bound++
			}
		}
		return bound == 2
	})
	require.NoError(t, p.PublishHeartbeat(bounded(t), want))
	for _, beats := range gateways {
		batch := requireNext(t, beats, "a heartbeat")
		var got brokerv1.Heartbeat
		require.NoError(t, proto.Unmarshal(batch[0].Body, &got))
		assert.True(t, proto.Equal(want, &got))
	}
}

func TestControlReachesOneWorker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	for _, id := range []string{"w1", "w2"} {
		require.NoError(t, conn.Do(bounded(t), func(topology *broker.Topology) error {
			return topology.DeclareControl(id, 1, []string{taskType})
		}))
	}
	require.NoError(t, p.PublishControl(bounded(t), "w1", &brokerv1.ControlMessage{}))
	// A worker that is gone is no error.
	require.NoError(t, p.PublishControl(bounded(t), "w3", &brokerv1.ControlMessage{}))
	assert.Len(t, b.Drain(t, names.ControlQueue("w1", 1)), 1)
	assert.Empty(t, b.Drain(t, names.ControlQueue("w2", 1)))
}

func TestControlReachesTheWorkersOfAType(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	for id, taskTypes := range map[string][]string{"w1": {taskType}, "w2": {taskType, otherType}, "w3": {otherType}} {
		require.NoError(t, conn.Do(bounded(t), func(topology *broker.Topology) error {
			return topology.DeclareControl(id, 1, taskTypes)
		}))
	}
	require.NoError(t, p.PublishControlType(bounded(t), taskType, &brokerv1.ControlMessage{}))
	// That nobody works on a type is no error.
	require.NoError(t, p.PublishControlType(bounded(t), "acme.v1.Nope.Nothing", &brokerv1.ControlMessage{}))
	assert.Len(t, b.Drain(t, names.ControlQueue("w1", 1)), 1)
	assert.Len(t, b.Drain(t, names.ControlQueue("w2", 1)), 1)
	assert.Empty(t, b.Drain(t, names.ControlQueue("w3", 1)))
}

func TestParkedMessagesAreDeadLetters(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	require.NoError(t, p.PublishParked(bounded(t), []byte{0xff, 0}, "it can't be read"))
	got, ok := b.Get(t, names.Dead())
	require.True(t, ok)
	assert.Equal(t, []byte{0xff, 0}, got.Body)
	assert.Equal(t, "UNDECODABLE", got.Headers["x-opt-warren-cause"])
	assert.Equal(t, "it can't be read", got.Headers["warren-problem"])
	assert.Equal(t, names.Status(), got.RoutingKey)
}

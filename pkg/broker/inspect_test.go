//go:build unix

package broker_test

import (
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func TestCheckQueue(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, _ := connect(t, b.URL)
	check := func(q broker.QueueSpec) error {
		return conn.Do(bounded(t), func(topology *broker.Topology) error { return topology.CheckQueue(q) })
	}
	for _, q := range append(names.SharedQueues(), names.WorkQueue(taskType)) {
		require.NoError(t, check(q), q.Name)
	}
	require.ErrorIs(t, check(names.WorkQueue(otherType)), broker.ErrMissing)
	b.DeclareQuorumQueue(t, names.Work(otherType), amqp091.Table{"x-delivery-limit": 3})
	err := check(names.WorkQueue(otherType))
	require.ErrorIs(t, err, broker.ErrConflict)
	assert.ErrorContains(t, err, "inequivalent arg")
}

func TestCheckingDeclaresNothing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn := broker.NewConnection(configOf(t, b.URL), "check", nil)
	run(t, conn.Run)
	before := exchanges(t, b)
	for _, q := range names.SharedQueues() {
		require.ErrorIs(t, conn.Do(bounded(t), func(topology *broker.Topology) error { return topology.CheckQueue(q) }), broker.ErrMissing)
	}
	for _, x := range names.SharedExchanges() {
		require.ErrorIs(t, conn.Do(bounded(t), func(topology *broker.Topology) error { return topology.CheckExchange(x) }), broker.ErrMissing)
	}
	assert.Empty(t, b.Queues(t))
	assert.Equal(t, before, exchanges(t, b))
}

func TestCheckExchange(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, _ := connect(t, b.URL)
	check := func(x broker.ExchangeSpec) error {
		return conn.Do(bounded(t), func(topology *broker.Topology) error { return topology.CheckExchange(x) })
	}
	for _, x := range names.SharedExchanges() {
		require.NoError(t, check(x), x.Name)
	}
	require.ErrorIs(t, check(broker.ExchangeSpec{Name: names.Tasks(), Kind: "fanout"}), broker.ErrConflict)
}

func TestVHost(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"amqp://guest:guest@localhost": "/", "amqp://localhost/": "/", "amqp://localhost/%2f": "/", "amqps://u:p@h:1/blue%2Fgreen": "blue/green",
	} {
		cfg := configOf(t, url)
		assert.Equal(t, want, cfg.VHost(), url)
	}
}

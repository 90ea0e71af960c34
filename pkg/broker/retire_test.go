//go:build unix

package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// A queue is deleted only when nothing is in it, nobody consumes it and nothing can
// come in.
func TestDeleteWork(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, publisher := connect(t, b.URL)
	do := func(f func(*broker.Topology) error) error { return conn.Do(bounded(t), f) }
	remove := func(topology *broker.Topology) error { return topology.DeleteWork(taskType) }
	require.NoError(t, publisher.PublishTask(bounded(t), newTask(taskType)))
	require.ErrorIs(t, do(remove), broker.ErrInUse)

	ch := b.Channel(t)
	_, err := ch.QueuePurge(work, false)
	require.NoError(t, err)
	_, err = ch.Consume(work, "c", false, false, false, false, nil)
	require.NoError(t, err)
	require.ErrorIs(t, do(remove), broker.ErrInUse)
	require.NoError(t, ch.Cancel("c", false))

	for range 2 {
		require.NoError(t, do(func(topology *broker.Topology) error { return topology.CloseWork(taskType) }))
	}
	require.ErrorIs(t, publisher.PublishTask(bounded(t), newTask(taskType)), broker.ErrUnroutable)
	require.NoError(t, do(remove))
	for _, q := range b.Queues(t) {
		require.NotEqual(t, work, q.Name)
	}
	require.NoError(t, do(func(topology *broker.Topology) error {
		if err := topology.CloseWork(taskType); err != nil {
			return err
		}
		return topology.DeleteWork(taskType)
	}), "there is none any more")

	require.NoError(t, do(func(topology *broker.Topology) error { return topology.DeclareWork(taskType) }))
	require.NoError(t, publisher.PublishTask(bounded(t), newTask(taskType)))
}

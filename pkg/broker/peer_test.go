//go:build unix

package broker_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func TestPeer(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	conn, p := connect(t, proxy.URL())
	require.NoError(t, p.AwaitReady(bounded(t)))
	peer, ok := conn.Peer()
	require.True(t, ok)
	at, err := url.Parse(proxy.URL())
	require.NoError(t, err)
	require.Equal(t, "RabbitMQ", peer.Product)
	require.Regexp(t, `^\d+\.\d+\.\d+`, peer.Version)
	require.NotEmpty(t, peer.Cluster)
	require.Equal(t, at.Host, peer.Address)

	proxy.Cut()
	brokertest.Eventually(t, within, func() bool { return !conn.Connected() })
	peer, ok = conn.Peer()
	require.False(t, ok)
	require.Equal(t, broker.Peer{}, peer)
}

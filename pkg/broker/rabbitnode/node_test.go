//go:build unix

package rabbitnode_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

func find(t *testing.T) rabbitnode.Install {
	t.Helper()
	install, err := rabbitnode.Find(t.Context(), t.Logf)
	require.NoError(t, err)
	return install
}

func start(t *testing.T, cfg rabbitnode.NodeConfig) *rabbitnode.Node {
	t.Helper()
	began := time.Now()
	node, err := find(t).Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Logf("a node started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { assert.NoError(t, node.Close()) })
	return node
}

func TestQuorumQueueSurvivesKillStopAndANewNode(t *testing.T) {
	t.Parallel()
	cfg := rabbitnode.NodeConfig{DataDir: t.TempDir(), Management: true}
	node := start(t, cfg)
	b := brokertest.VHostOn(t, node)
	b.DeclareQuorumQueue(t, "q", nil)
	require.NoError(t, node.Sync(t.Context()))
	publish := func(body string) {
		b.Publish(t, "", "q", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
	}

	publish("before a kill")
	pid := node.Pid()
	require.NoError(t, node.Kill())
	assert.Zero(t, node.Pid())
	require.NoError(t, node.Restart(t.Context()))
	assert.NotEqual(t, pid, node.Pid())

	publish("before a stop")
	require.NoError(t, node.Stop(t.Context()))
	log, err := os.ReadFile(node.Log())
	require.NoError(t, err)
	assert.True(t, strings.Contains(string(log), "SIGTERM received - shutting down"), "the node did not end in order")

	require.NoError(t, node.Close())
	again := start(t, cfg)
	assert.Equal(t, node.Name(), again.Name())
	messages := b.Via(t, again).Drain(t, "q")
	require.Len(t, messages, 2)
	assert.Equal(t, "before a kill", string(messages[0].Body))
	assert.Equal(t, "before a stop", string(messages[1].Body))
}

func TestRestartStopsARunningNode(t *testing.T) {
	t.Parallel()
	node := start(t, rabbitnode.NodeConfig{})
	was := node.URL()
	require.NoError(t, node.Restart(t.Context()))
	assert.Equal(t, was, node.URL())
	requireLogin(t, node)
}

func TestEndingANodeIsIdempotentAndSafe(t *testing.T) {
	t.Parallel()
	var log logtest.Buffer
	node := start(t, rabbitnode.NodeConfig{LogWriter: &log})
	var ends sync.WaitGroup
	for _, end := range []func() error{
		node.Kill, node.Kill, node.Close, node.Close,
		func() error { return node.Stop(context.WithoutCancel(t.Context())) },
		func() error { return node.Stop(context.WithoutCancel(t.Context())) },
	} {
		ends.Go(func() { assert.NoError(t, end()) })
	}
	ends.Wait()
	require.ErrorIs(t, node.Restart(t.Context()), rabbitnode.ErrClosed)
	require.ErrorIs(t, node.Pause(), rabbitnode.ErrNotRunning)
	_, err := os.Stat(node.Dir())
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.True(t, strings.Contains(log.String(), "Server startup complete"), "the writer did not get the log")
}

func TestPausedNodeHangsAndResumes(t *testing.T) {
	t.Parallel()
	node := start(t, rabbitnode.NodeConfig{})
	require.NoError(t, node.Pause())
	_, err := amqp.DialConfig(node.URL(), amqp.Config{Dial: amqp.DefaultDial(300 * time.Millisecond)})
	require.Error(t, err)
	require.NoError(t, node.Resume())
	requireLogin(t, node)

	require.NoError(t, node.Pause())
	require.NoError(t, node.Stop(t.Context()), "stopping a paused node")
}

func TestNodeListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	node := start(t, rabbitnode.NodeConfig{Management: true})
	out, err := node.Ctl(t.Context(), "eval", "1 + 1.")
	require.NoError(t, err)
	assert.Equal(t, "2\n", out)
	for _, port := range node.LoopbackPorts() {
		assert.NoError(t, dialPort("127.0.0.1", port))
		for _, address := range outsideAddresses(t) {
			assert.Error(t, dialPort(address, port), "%s:%d", address, port)
		}
	}
}

func TestTakenPortFailsTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	_, err = find(t).Start(t.Context(), rabbitnode.NodeConfig{AMQPPort: taken.Addr().(*net.TCPAddr).Port})
	require.ErrorContains(t, err, "address already in use")
}

func TestBadConfigurationFailsTheStartAndSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := find(t).Start(t.Context(), rabbitnode.NodeConfig{ExtraConfig: "no.such.setting = 1"})
	require.ErrorIs(t, err, rabbitnode.ErrNotRunning)
	require.ErrorContains(t, err, "no.such.setting")
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	install := find(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := install.Start(ctx, rabbitnode.NodeConfig{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestOneNodeAtATimeUsesADataDir(t *testing.T) {
	t.Parallel()
	cfg := rabbitnode.NodeConfig{DataDir: t.TempDir()}
	start(t, cfg)
	_, err := find(t).Start(t.Context(), cfg)
	require.ErrorContains(t, err, "another process runs a node")
}

func TestAttachedNodeIsNotOurs(t *testing.T) {
	t.Parallel()
	node := rabbitnode.Attach("amqp://guest:guest@broker.example/", "http://guest:guest@broker.example:15672")
	assert.Equal(t, "amqp://guest:guest@broker.example/", node.URL())
	assert.Equal(t, "http://guest:guest@broker.example:15672", node.ManagementURL())
	_, ctlErr := node.Ctl(t.Context(), "status")
	for _, err := range []error{
		node.Kill(), node.Stop(t.Context()), node.Restart(t.Context()), node.Pause(), node.Resume(), ctlErr,
	} {
		require.ErrorIs(t, err, rabbitnode.ErrNotOwned)
	}
	assert.Zero(t, node.Pid())
	require.NoError(t, node.Close())
}

func requireLogin(t *testing.T, node *rabbitnode.Node) {
	t.Helper()
	conn, err := amqp.Dial(node.URL())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func dialPort(address string, port int) error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(port)), time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// outsideAddresses are this machine's addresses that others can reach.
func outsideAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	var outside []string
	for _, address := range all {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			outside = append(outside, network.IP.String())
		}
	}
	return outside
}

func TestURLsCarryCredentials(t *testing.T) {
	t.Parallel()
	node := start(t, rabbitnode.NodeConfig{Management: true, Name: "named"})
	assert.Equal(t, "named@localhost", node.Name())
	for _, raw := range []string{node.URL(), node.ManagementURL()} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		assert.Equal(t, "guest:guest", u.User.String())
		assert.Equal(t, "127.0.0.1", u.Hostname())
	}
}

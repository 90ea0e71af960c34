//go:build unix

package brokertest_test

import (
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	amqp10 "github.com/Azure/go-amqp"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

const (
	greeting091     = "AMQP\x00\x00\x09\x01"
	greeting10      = "AMQP\x00\x01\x00\x00"
	greeting10SASL  = "AMQP\x03\x01\x00\x00"
	greetingUnknown = "\x16\x03\x01\x00\x00\x00\x00\x00"
)

// silence is how long nothing must arrive for a connection to count as stalled.
const silence = 150 * time.Millisecond

func TestProxyPassesBothWays(t *testing.T) {
	t.Parallel()
	p := brokertest.NewProxy(t, echoServer(t))
	for _, greeting := range []string{greeting091, greeting10, greeting10SASL, greetingUnknown} {
		conn := dial(t, p, greeting)
		requireEcho(t, conn, greeting)
		send(t, conn, "hello")
		requireEcho(t, conn, "hello")
	}
	assert.Equal(t, 4, p.Connections())
	assert.Equal(t, 2, p.Connections(brokertest.AMQP10))
}

func TestProxyCutsOneProtocol(t *testing.T) {
	t.Parallel()
	p := brokertest.NewProxy(t, echoServer(t))
	old, other := connected(t, p, greeting091), connected(t, p, greeting10)

	p.Cut(brokertest.AMQP091)
	requireReset(t, old)
	requireReset(t, dial(t, p, greeting091))
	send(t, other, "alive")
	requireEcho(t, other, "alive")

	p.Restore()
	connected(t, p, greeting091)
}

func TestProxyCutOfEverythingNeedsNoGreeting(t *testing.T) {
	t.Parallel()
	p := brokertest.NewProxy(t, echoServer(t))
	p.Cut()
	u, err := url.Parse(p.URL())
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		// The reset came before the dial had returned.
		require.ErrorIs(t, err, syscall.ECONNRESET)
		return
	}
	t.Cleanup(func() { _ = conn.Close() })
	requireReset(t, conn)
}

func TestProxyDropsOnce(t *testing.T) {
	t.Parallel()
	p := brokertest.NewProxy(t, echoServer(t))
	old := connected(t, p, greeting10)
	p.Drop(brokertest.AMQP10)
	requireReset(t, old)
	connected(t, p, greeting10)
}

func TestProxyStallsOneProtocolAndLosesNothing(t *testing.T) {
	t.Parallel()
	p := brokertest.NewProxy(t, echoServer(t))
	old, other := connected(t, p, greeting091), connected(t, p, greeting10)

	p.Stall(brokertest.AMQP091)
	send(t, old, "late")
	fresh := dial(t, p, greeting091)
	requireSilence(t, old)
	requireSilence(t, fresh)
	send(t, other, "alive")
	requireEcho(t, other, "alive")

	p.Restore(brokertest.AMQP091)
	requireEcho(t, old, "late")
	requireEcho(t, fresh, greeting091)
}

func TestProxyCutEndsAStall(t *testing.T) {
	t.Parallel()
	p := brokertest.NewProxy(t, echoServer(t))
	conn := connected(t, p, greeting091)
	p.Stall()
	requireSilence(t, conn)
	p.Cut()
	requireReset(t, conn)
}

func TestProxyResetsClientsOfADeadBroker(t *testing.T) {
	t.Parallel()
	p := brokertest.NewProxy(t, "amqp://"+porttest.Address(t))
	requireReset(t, dial(t, p, greeting091))
}

// Not parallel: it looks at all goroutines of the process.
func TestProxyLeavesNoGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("use", func(t *testing.T) {
		p := brokertest.NewProxy(t, echoServer(t))
		connected(t, p, greeting091)
		p.Stall()
		dial(t, p, greeting10)
		p.Close()
		p.Close()
	})
	goleak.VerifyNone(t, before)
}

func TestProxyCutsAMQP10ButNot091OfARealBroker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	p := brokertest.NewProxy(t, b.URL)
	old, err := amqp091.Dial(p.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = old.Close() })
	u, err := url.Parse(p.URL())
	require.NoError(t, err)
	modern, err := amqp10.Dial(t.Context(), "amqp://"+u.Host, &amqp10.ConnOptions{
		SASLType: amqp10.SASLTypePlain("guest", "guest"), HostName: "vhost:" + b.VHost,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = modern.Close() })
	require.Equal(t, 1, p.Connections(brokertest.AMQP091))
	require.Equal(t, 1, p.Connections(brokertest.AMQP10))

	p.Cut(brokertest.AMQP10)
	select {
	case <-modern.Done():
	case <-time.After(within):
		t.Fatal("the AMQP 1.0 connection lives")
	}
	channel, err := old.Channel()
	require.NoError(t, err)
	require.NoError(t, channel.Close())
}

// echoServer sends back what it gets and returns its address as an AMQP URL.
func echoServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return "amqp://" + listener.Addr().String() + "/"
}

func dial(t *testing.T, p *brokertest.Proxy, greeting string) net.Conn {
	t.Helper()
	u, err := url.Parse(p.URL())
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	// A proxy that cuts may be faster than this.
	_, _ = io.WriteString(conn, greeting)
	return conn
}

// connected returns a connection that has reached the server.
func connected(t *testing.T, p *brokertest.Proxy, greeting string) net.Conn {
	t.Helper()
	conn := dial(t, p, greeting)
	requireEcho(t, conn, greeting)
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

func requireEcho(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
	b := make([]byte, len(text))
	_, err := io.ReadFull(conn, b)
	require.NoError(t, err)
	require.Equal(t, text, string(b))
}

func requireSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(silence)))
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// requireReset wants the connection ended by a reset, which shows as "broken pipe" or end of file to some who look late.
func requireReset(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF), "%v", err)
}

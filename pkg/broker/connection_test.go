//go:build unix

package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

func TestConnectionGoesToTheNodeThatLives(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	one, other := brokertest.NewProxy(t, b.URL), brokertest.NewProxy(t, b.URL)
	conn, p := connect(t, deadURL(t), one.URL(), other.URL())
	for range 4 {
		require.NoError(t, p.AwaitReady(bounded(t)))
		publishTask(t, p)
		cut := one
		if other.Connections() > 0 {
			cut = other
		}
		cut.Cut()
		brokertest.Eventually(t, within, func() bool { return !conn.Connected() || cut.Connections() == 0 })
		require.NoError(t, conn.Do(bounded(t), (*broker.Topology).CheckShared))
		cut.Restore()
	}
	require.NoError(t, p.AwaitReady(bounded(t)))
	publishTask(t, p)
	assert.Len(t, b.Drain(t, work), 5)
}

func TestLinkGoesToTheNodeThatLives(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	publishTask(t, p)
	next := links(t, configOf(t, deadURL(t), b.URL, deadURL(t)))
	require.NoError(t, receiveTask(t, next()).Accept(bounded(t)))
}

// The broker's own end of a connection is no reason to give up.
func TestConnectionIsReopenedAfterAnOperatorClosedIt(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	b.CloseConnections(t, 1)
	brokertest.Eventually(t, within, func() error { return p.PublishTask(bounded(t), newTask(taskType)) })
	assert.True(t, conn.Connected())
}

func TestConnectionPreparesUntilItCan(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn := broker.NewConnection(configOf(t, b.URL), "work", (*broker.Topology).CheckShared)
	p := broker.NewPublisher(conn)
	run(t, conn.Run)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.AwaitReady(ctx), broker.ErrNotSent)
	require.False(t, conn.Connected())

	connect(t, b.URL)
	require.NoError(t, p.AwaitReady(bounded(t)))
}

func TestDoWaitsForTheConnection(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn := broker.NewConnection(configOf(t, b.URL), "work", nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTooLong)
	require.ErrorIs(t, conn.Do(ctx, (*broker.Topology).DeclareShared), errTooLong)

	answer := make(chan error, 1)
	go func() { answer <- conn.Do(bounded(t), (*broker.Topology).DeclareShared) }()
	run(t, conn.Run)
	require.NoError(t, requireNext(t, answer, "an answer"))
	// An error is the caller's; the connection outlives it.
	require.ErrorIs(t, conn.Do(bounded(t), func(*broker.Topology) error { return errTooLong }), errTooLong)
	require.NoError(t, conn.Do(bounded(t), (*broker.Topology).CheckShared))
}

func TestDoGivesUpOnABrokerThatHangs(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	conn, _ := connect(t, proxy.URL())
	proxy.Stall()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errTooLong)
	defer cancel()
	require.ErrorIs(t, conn.Do(ctx, (*broker.Topology).CheckShared), errTooLong)
	proxy.Restore()
	require.NoError(t, conn.Do(bounded(t), (*broker.Topology).CheckShared))
}

// A peer that says nothing any more is found out by its missing heartbeats.
func TestSilentConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	conn, p := connect(t, proxy.URL(), b.URL)
	if proxy.Connections() == 0 {
		// It began with the other address.
		b.CloseConnections(t, 1)
		brokertest.Eventually(t, within, func() bool { return proxy.Connections() == 1 && conn.Connected() })
	}
	require.NoError(t, p.AwaitReady(bounded(t)))
	proxy.Stall()
	err := p.PublishTask(bounded(t), newTask(taskType))
	require.ErrorIs(t, err, broker.ErrUnknown)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	// The next address works.
	require.NoError(t, p.AwaitReady(bounded(t)))
	publishTask(t, p)
}

func TestStoppingABrokerThatHangs(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	conn := broker.NewConnection(configOf(t, proxy.URL()), "publish", declare(taskType))
	p := broker.NewPublisher(conn)
	stop := run(t, conn.Run)
	require.NoError(t, p.AwaitReady(bounded(t)))
	next := links(t, configOf(t, proxy.URL()))
	next()
	proxy.Stall()
	// It fails the test if it takes too long.
	stop()
	require.ErrorIs(t, p.Ready(), broker.ErrNotSent)
}

func TestLogsHaveNoPasswords(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	b := brokertest.VHost(t)
	var log logtest.Buffer
	url := strings.Replace(b.URL, "guest:guest@", "guest:"+password+"@", 1)
	require.Contains(t, url, password)
	cfg := broker.Config{
		URLs: []string{url, strings.Replace(deadURL(t), "//", "//guest:"+password+"@", 1)}, Name: t.Name(),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	require.NoError(t, cfg.Validate())
	conn := broker.NewConnection(cfg, "publish", nil)
	stopConn := run(t, conn.Run)
	stopLinks := run(t, func(ctx context.Context) {
		broker.RunLinks(ctx, cfg, func(context.Context, *broker.Link, func()) error { return errors.New("there is no such link") })
	})
	for _, text := range []string{"connection=publish", "connection=work", "403", "not-allowed", "unauthorized", "refused"} {
		brokertest.Eventually(t, within, func() bool {
			s := strings.ToLower(log.String())
			if text == "not-allowed" || text == "unauthorized" {
				return strings.Count(s, "can't work with the broker") > 4
			}
			return strings.Contains(s, text)
		})
	}
	stopConn()
	stopLinks()
	assert.NotContains(t, log.String(), password)
	assert.NotContains(t, log.String(), "there is no such link")
}

// Not parallel: it looks at all goroutines of the process.
func TestNothingRunsOn(t *testing.T) {
	t.Run("use", func(t *testing.T) {
		b := brokertest.VHost(t)
		proxy := brokertest.NewProxy(t, b.URL)
		cfg := configOf(t, proxy.URL())
		conn := broker.NewConnection(cfg, "publish", declare(taskType))
		p := broker.NewPublisher(conn)
		status := broker.NewStatusWriter(p)
		consuming := broker.NewConnection(cfg, "consume", nil)
		batches := subscribe(consuming, broker.Subscription{Queue: names.Status(), Prefetch: 10}, nil)
		run(t, conn.Run)
		run(t, status.Run)
		require.NoError(t, p.AwaitReady(bounded(t)))
		run(t, consuming.Run)
		next := links(t, cfg)
		for range 2 {
			l := next()
			require.NoError(t, p.AwaitReady(bounded(t)))
			receipt, err := status.Write(bounded(t), event(1))
			require.NoError(t, err)
			require.NoError(t, receipt.Wait(bounded(t)))
			requireNext(t, batches, "a batch")
			publishTask(t, p)
			receiveTask(t, l)
			proxy.Drop()
			requireEnd(t, l.done, "the end of the link")
			brokertest.Eventually(t, within, func() bool { return p.Ready() == nil && conn.Connected() })
		}
	})
	goleak.VerifyNone(t, brokertest.LeakOptions()...)
}

// deadURL is where nobody listens.
func deadURL(t testing.TB) string {
	t.Helper()
	return "amqp://" + porttest.Address(t) + "/"
}

//go:build unix

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
)

const (
	connectedMetric  = "warren.broker.connected"
	reconnectsMetric = "warren.broker.reconnects"
	publishMetric    = "messaging.client.operation.duration"
)

// measured is connect with metrics. Stop ends the connection.
func measured(t testing.TB, url string) (m *metrictest.Metrics, p *broker.Publisher, stop func()) {
	t.Helper()
	m = metrictest.New()
	cfg := configOf(t, url)
	cfg.MeterProvider = m.Provider()
	conn := broker.NewConnection(cfg, "publish", declare(taskType))
	p = broker.NewPublisher(conn)
	stop = run(t, conn.Run)
	require.NoError(t, p.AwaitReady(bounded(t)))
	return m, p, stop
}

// requireSeries waits until a metric has exactly these series.
func requireSeries(t testing.TB, m *metrictest.Metrics, name string, want map[string]float64) {
	t.Helper()
	brokertest.Eventually(t, within, func() error {
		if got := m.Series(t, name); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s is %v, not %v", name, got, want)
		}
		return nil
	})
}

func TestMetricsOfAConnection(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	m, _, stop := measured(t, proxy.URL())
	const series = "warren.connection=publish"
	requireSeries(t, m, connectedMetric, map[string]float64{series: 1})
	requireSeries(t, m, reconnectsMetric, map[string]float64{series: 0})
	requireSeries(t, m, "warren.broker.blocked", map[string]float64{series: 0})
	requireSeries(t, m, "warren.broker.blocked.time", map[string]float64{series: 0})

	proxy.Cut()
	requireSeries(t, m, connectedMetric, map[string]float64{series: 0})
	proxy.Restore()
	requireSeries(t, m, connectedMetric, map[string]float64{series: 1})
	requireSeries(t, m, reconnectsMetric, map[string]float64{series: 1})
	stop()
	requireSeries(t, m, connectedMetric, map[string]float64{series: 0})
	requireSeries(t, m, reconnectsMetric, map[string]float64{series: 1})
}

func TestMetricsOfALink(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	m := metrictest.New()
	cfg := configOf(t, proxy.URL())
	cfg.MeterProvider = m.Provider()
	run(t, func(ctx context.Context) {
		broker.RunLinks(ctx, cfg, func(ctx context.Context, _ *broker.Link, up func()) error {
			up()
			<-ctx.Done()
			return ctx.Err()
		})
	})
	const series = "warren.connection=work"
	requireSeries(t, m, connectedMetric, map[string]float64{series: 1})
	proxy.Drop()
	requireSeries(t, m, reconnectsMetric, map[string]float64{series: 1})
	requireSeries(t, m, connectedMetric, map[string]float64{series: 1})
}

func published(exchange, errorType string) string {
	series := "messaging.destination.name=" + exchange + ",messaging.operation.name=publish,messaging.system=rabbitmq"
	if errorType != "" {
		series = "error.type=" + errorType + "," + series
	}
	return series
}

func TestMetricsOfPublishes(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	m, p, _ := measured(t, proxy.URL())
	publishTask(t, p)
	publishTask(t, p)
	require.NoError(t, p.Probe(bounded(t)))
	p.PublishTasks(bounded(t), []*broker.TaskMessage{newTask(taskType), newTask(otherType)}, func(int, error) {})
	want := map[string]float64{published(names.Tasks(), ""): 3, published(names.Tasks(), "unroutable"): 1, published(names.Status(), ""): 1}
	require.Equal(t, want, m.Series(t, publishMetric))

	proxy.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.PublishTask(ctx, newTask(taskType)), broker.ErrUnknown)
	want[published(names.Tasks(), "timeout")] = 1
	require.Equal(t, want, m.Series(t, publishMetric))
	require.GreaterOrEqual(t, m.Sums(t, publishMetric)[published(names.Tasks(), "timeout")], .09)

	waits := make(chan error, 1)
	go func() { waits <- p.PublishTask(context.WithoutCancel(t.Context()), newTask(taskType)) }()
	proxy.Cut()
	err := requireNext(t, waits, "the end of the connection")
	want[published(names.Tasks(), map[bool]string{true: "not_sent", false: "unknown"}[errors.Is(err, broker.ErrNotSent)])]++
	require.Equal(t, want, m.Series(t, publishMetric))

	brokertest.Eventually(t, within, func() bool { return p.Ready() != nil })
	require.ErrorIs(t, p.PublishTask(bounded(t), newTask(taskType)), broker.ErrNotSent)
	want[published(names.Tasks(), "not_sent")]++
	require.Equal(t, want, m.Series(t, publishMetric))
}

func TestMetricsOfARefusedPublish(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	m, p, _ := measured(t, b.URL)
	b.SetPolicy(t, "full", "^warren\\.work\\.", "quorum_queues", map[string]any{"max-length": 1})
	brokertest.Eventually(t, within, func() bool { return b.Queue(t, work).Policy == "full" })
	brokertest.Eventually(t, within, func() bool { return p.PublishTask(bounded(t), newTask(taskType)) != nil })
	require.EqualValues(t, 1, m.Series(t, publishMetric)[published(names.Tasks(), "nacked")])
}

func TestMetricsOfABlockedConnection(t *testing.T) {
	t.Parallel()
	node := brokertest.StartNode(t, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, node)
	m, p, _ := measured(t, b.URL)
	end := brokertest.Alarm(t, node)
	answer := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	go func() { answer <- p.PublishTask(ctx, newTask(taskType)) }()
	const series = "warren.connection=publish"
	requireSeries(t, m, "warren.broker.blocked", map[string]float64{series: 1})
	// It is told while it lasts.
	brokertest.Eventually(t, within, func() bool { return m.Series(t, "warren.broker.blocked.time")[series] > 0 })
	end()
	require.NoError(t, requireNext(t, answer, "the confirm of what waited"))
	requireSeries(t, m, "warren.broker.blocked", map[string]float64{series: 0})
}

package gateway

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
)

// What a gateway tells of itself before anything happens.
func TestMetricsOfAGateway(t *testing.T) {
	t.Parallel()
	b, m := brokertest.VHost(t), metrictest.New()
	r := startMeasured(t, b.URL, m)
	want := map[string]map[string]float64{
		"warren.broker.connected":  {"warren.connection=consume": 1, "warren.connection=publish": 1},
		"warren.broker.reconnects": {"warren.connection=consume": 0, "warren.connection=publish": 0},
		"warren.broker.blocked":    {"warren.connection=publish": 0},
		"warren.workers":           {"": 0}, "warren.task.scheduled": {"": 0},
		"warren.projection.lag": {"": 0}, "warren.projection.lag.time": {"": 0},
	}
	brokertest.Eventually(t, patience, func() error {
		all := m.All(t)
		for name, series := range want {
			if fmt.Sprint(all[name]) != fmt.Sprint(series) {
				return fmt.Errorf("%s is %v", name, all[name])
			}
		}
		if all["warren.store.size"]["warren.store=gateway"] == 0 || len(all["warren.store.operation.duration"]) == 0 {
			return fmt.Errorf("of the store there is only %v and %v", all["warren.store.size"], all["warren.store.operation.duration"])
		}
		return nil
	})
	require.NoError(t, r.stop())
	require.NotContains(t, m.All(t), "warren.workers", "nothing is told by one that has stopped")
}

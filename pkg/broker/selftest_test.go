//go:build unix

package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestSelfTestPassesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	before := exchanges(t, b)
	began := time.Now()
	require.NoError(t, broker.SelfTest(bounded(t), configOf(t, b.URL), task.NewID()))
	t.Logf("it took %s", time.Since(began))
	assert.Empty(t, b.Queues(t))
	assert.Equal(t, before, exchanges(t, b))
}

// Two gateways test themselves at once.
func TestSelfTestsDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	cfg := configOf(t, b.URL)
	results := make(chan error)
	for range 3 {
		go func() { results <- broker.SelfTest(t.Context(), cfg, task.NewID()) }()
	}
	for range 3 {
		assert.NoError(t, requireNext(t, results, "a self-test"))
	}
	assert.Empty(t, b.Queues(t))
}

func TestSelfTestFindsWhatMisbehaves(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy     map[string]any
		settlement string
		timing     bool
	}{
		// A released message waits, as if it had failed.
		"released late":          {map[string]any{"delayed-retry-type": "all", "delayed-retry-min": 3200}, "released", true},
		"released much too late": {map[string]any{"delayed-retry-type": "all", "delayed-retry-min": 60_000}, "released", false},
		"not put off":            {map[string]any{"message-ttl": 400}, "modified", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := brokertest.VHost(t)
			b.SetPolicy(t, "trap", `^warren\.selftest\.[^.]*$`, "queues", tt.policy)
			err := broker.SelfTest(bounded(t), configOf(t, b.URL), task.NewID())
			var misbehaves *broker.SettlementError
			require.ErrorAs(t, err, &misbehaves)
			t.Log(err)
			assert.Equal(t, tt.settlement, misbehaves.Settlement)
			assert.Equal(t, tt.timing, misbehaves.Timing)
			assert.Empty(t, b.Queues(t))
		})
	}
}

func TestSelfTestTriesAllNodes(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	require.NoError(t, broker.SelfTest(bounded(t), configOf(t, "amqp://guest:guest@127.0.0.1:1/", b.URL), task.NewID()))
}

// A broker that is away is no settlement that misbehaves.
func TestSelfTestNeedsABroker(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"nobody there": "amqp://guest:guest@127.0.0.1:1/", "no such vhost": brokertest.VHost(t).URL + "x"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := broker.SelfTest(bounded(t), configOf(t, url), task.NewID())
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "guest:guest")
			var misbehaves *broker.SettlementError
			assert.NotErrorAs(t, err, &misbehaves)
		})
	}
}

// A broker that goes silent midway holds nobody for longer than the context.
func TestSelfTestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	ctx, cancel := context.WithCancelCause(bounded(t))
	result := make(chan error)
	go func() { result <- broker.SelfTest(ctx, configOf(t, proxy.URL()), task.NewID()) }()
	brokertest.Eventually(t, within, func() bool { return len(b.Queues(t)) == 2 })
	proxy.Stall()
	stopped := errors.New("stopped")
	cancel(stopped)
	require.ErrorIs(t, requireNext(t, result, "the end"), stopped)
}

package rawbroker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/bench/internal/rawbroker"
)

const within = 30 * time.Second

func limits(t *testing.T) (*rawbroker.Limits, brokertest.Broker) {
	t.Helper()
	b := brokertest.VHost(t)
	return &rawbroker.Limits{URL: b.URL, Names: broker.Names{Namespace: "bench"}, PayloadBytes: 256}, b
}

func TestMeasuresLeaveNothing(t *testing.T) {
	t.Parallel()
	l, b := limits(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for _, n := range []int{1, 63, 1501} {
		for name, measure := range map[string]func(context.Context, int) (time.Duration, error){"L1": l.Deep, "L64": l.Callers64} {
			took, err := measure(ctx, n)
			require.NoError(t, err, "%s of %d", name, n)
			require.Positive(t, took)
			require.Less(t, took, within)
		}
	}
	require.Empty(t, b.Queues(t))
}

func TestMeasuresEndWithTheirContext(t *testing.T) {
	l, _ := limits(t)
	before := goleak.IgnoreCurrent()
	why := errors.New("enough")
	for _, measure := range []func(context.Context, int) (time.Duration, error){l.Deep, l.Callers64} {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
		_, err := measure(ctx, 1<<30)
		require.ErrorIs(t, err, why)
		timer.Stop()
	}
	goleak.VerifyNone(t, before)
}

func TestABrokerThatIsNotThere(t *testing.T) {
	t.Parallel()
	l := &rawbroker.Limits{URL: "amqp://guest:guest@127.0.0.1:1/", Names: broker.Names{Namespace: "bench"}}
	_, err := l.Deep(t.Context(), 1)
	require.ErrorContains(t, err, "connect to the broker")
	_, _, err = rawbroker.Version(t.Context(), l.URL)
	require.ErrorContains(t, err, "connect to the broker")
}

func TestABrokerSaysWhatItIs(t *testing.T) {
	t.Parallel()
	_, b := limits(t)
	product, platform, err := rawbroker.Version(t.Context(), b.URL)
	require.NoError(t, err)
	require.Regexp(t, `^RabbitMQ 4\.3\.`, product)
	require.Regexp(t, `^Erlang/OTP \d`, platform)
}

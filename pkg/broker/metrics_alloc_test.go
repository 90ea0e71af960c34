package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
)

// What is measured of each publish allocates nothing, so that metrics cost tasks no
// garbage.
func TestMeasuringAPublishAllocatesNothing(t *testing.T) {
	metrics := metrictest.New()
	m := newMeters(metrics.Provider(), "publish")
	ctx := context.Background()
	out := newOutgoing("warren.tasks", "acme.v1.Images.Resize", true, amqp091.Publishing{})
	out.meters = m
	for want, err := range map[publishErr]error{
		"": nil, publishUnroutable: fmt.Errorf("%w: x", ErrUnroutable), publishNotSent: ErrNotSent, publishUnknown: ErrUnknown,
		publishNacked: fmt.Errorf("%w: %w", ErrUnknown, errNacked), publishTimeout: fmt.Errorf("%w: %w: %w", ErrUnknown, errNotConfirmed, context.DeadlineExceeded),
	} {
		require.Equal(t, want, publishErrOf(err))
		require.Zero(t, testing.AllocsPerRun(100, func() { out.measure(ctx, err) }), want)
	}
	require.Equal(t, publishUnknown, publishErrOf(errors.New("another")))
	require.Len(t, metrics.Series(t, "messaging.client.operation.duration"), 6)
}

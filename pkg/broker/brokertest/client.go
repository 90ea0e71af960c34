//go:build unix

package brokertest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// connectTimeout bounds the wait for connections to a broker that is up.
const connectTimeout = 15 * time.Second

// Connect has a test play a gateway: it declares topology and consumes on one
// connection, and publishes on another, until the test ends. The publisher is there
// for those that subscriptions gives. It returns once both are in order.
func Connect(t testing.TB, b Broker, declare func(*broker.Topology) error, subscriptions func(*broker.Publisher) []broker.Subscription) {
	t.Helper()
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test's gateway", Logger: slog.New(slog.DiscardHandler)}
	if err := cfg.Validate(); err != nil {
		t.Fatal("connect: ", err)
	}
	publish, consume := broker.NewConnection(cfg, "publish", nil), broker.NewConnection(cfg, "consume", declare)
	publisher := broker.NewPublisher(publish)
	for _, s := range subscriptions(publisher) {
		consume.Subscribe(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { publish.Run(ctx) })
	running.Go(func() { consume.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	ready, cancelReady := context.WithTimeout(t.Context(), connectTimeout)
	defer cancelReady()
	if err := publisher.AwaitReady(ready); err != nil {
		t.Fatal("connect: ", err)
	}
	if err := consume.Do(ready, func(*broker.Topology) error { return nil }); err != nil {
		t.Fatal("connect: ", err)
	}
}

// DecodeStatus gives the events and the markers in messages of the status queue.
func DecodeStatus(messages []broker.Delivery) (events []task.Event, markers []string, err error) {
	for _, m := range messages {
		batch, err := broker.DecodeStatusBatch(m.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("decode a status batch: %w", err)
		}
		for _, encoded := range batch.Events {
			e, err := broker.DecodeEvent(encoded)
			if err != nil {
				return nil, nil, fmt.Errorf("decode a status event: %w", err)
			}
			events = append(events, e)
		}
		markers = append(markers, batch.Markers...)
	}
	return events, markers, nil
}

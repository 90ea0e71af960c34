package depth

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
)

const (
	// samplePeriod is the time between two samples.
	samplePeriod = 250 * time.Millisecond
	// sampleTimeout bounds the wait for a connection and for the broker's answers.
	sampleTimeout = time.Second
)

// Topology asks the broker on an open connection.
type Topology interface {
	Do(ctx context.Context, f func(*broker.Topology) error) error
}

// Run takes samples until ctx ends. One that can't be taken is left out.
func (g *Gauge) Run(ctx context.Context) {
	ticker := time.NewTicker(samplePeriod)
	defer ticker.Stop()
	for {
		limits := g.types.QueueLimits()
		g.forget(limits)
		g.sample(ctx, slices.Sorted(maps.Keys(limits)))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sample asks for one queue after the other. One that is missing costs the
// channel: the others are asked for on another one.
func (g *Gauge) sample(ctx context.Context, taskTypes []string) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	for len(taskTypes) > 0 && ctx.Err() == nil {
		asked := taskTypes
		// Buffered, because Do may return while f still waits for the broker.
		failed := make(chan int, 1)
		err := g.topology.Do(ctx, func(t *broker.Topology) error {
			for i, name := range asked {
				waiting, err := t.Depth(name)
				if err != nil {
					failed <- i
					return err
				}
				g.take(name, waiting)
			}
			return nil
		})
		if err == nil {
			return
		}
		select {
		case i := <-failed:
			taskTypes = asked[i+1:]
		default:
			// There is no connection, or no channel.
			return
		}
	}
}

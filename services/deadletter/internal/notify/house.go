package notify

import (
	"context"
	"time"
)

// How notifications that have ended are forgotten.
const (
	// kept is how long they are shown.
	kept        = 30 * 24 * time.Hour
	housePeriod = time.Minute
	houseBatch  = 500
	// houseBatches bounds the transactions of one round.
	houseBatches = 20
)

// keepHouse forgets what is old, and gives up what has nowhere to go, until ctx ends.
func (n *Notifier) keepHouse(ctx context.Context) {
	ticker := time.NewTicker(housePeriod)
	defer ticker.Stop()
	problems := occasionally{log: n.log}
	for {
		problems.warn(ctx, "old notifications wait for the store", n.cleanUp(ctx, time.Now()))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Notifier) cleanUp(ctx context.Context, now time.Time) error {
	names := make([]string, len(n.channels))
	for i, c := range n.channels {
		names[i] = c.name
	}
	err := inBatches(func() (int, error) { return n.store.GiveUpNotifications(ctx, names, now.Add(-giveUp), houseBatch) })
	if err != nil {
		return err
	}
	return inBatches(func() (int, error) { return n.store.ForgetNotifications(ctx, now.Add(-kept), houseBatch) })
}

func inBatches(batch func() (int, error)) error {
	for range houseBatches {
		if done, err := batch(); err != nil || done < houseBatch {
			return err
		}
	}
	return nil
}

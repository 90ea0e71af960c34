package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// WaitingFor says, for people, what the cancellation of a task of a type waits for
// before it can take effect, as far as that is not the task itself; nothing if it
// can. The position is the cancellation's.
func (c *Control) WaitingFor(taskType string, position int64) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []string
	for _, w := range c.workers {
		if w.counts() && w.types[taskType] && c.knows(w) < position {
			out = append(out, fmt.Sprintf("%s %s", w.name(), w.lack(now)))
		}
	}
	slices.Sort(out)
	from, ok := c.quietUntil()
	switch {
	case !ok:
		out = append(out, "this gateway has just started and does not reach its store or RabbitMQ yet")
	case now.Before(from):
		out = append(out, "this gateway has just started and hears for 3 s which workers there are")
	case c.known < position:
		out = append(out, "the gateway's store does not answer")
	case !c.behindSince.IsZero():
		out = append(out, fmt.Sprintf("the gateway's store has been behind RabbitMQ's status queue for %s: a task may have ended otherwise",
			(now.Sub(c.behindSince)+maxBehind).Round(time.Second)))
	}
	return out
}

// CancellingOn says, for people, on which workers a task runs though it is
// cancelled.
func (c *Control) CancellingOn(taskID string) []string {
	id, err := uuid.Parse(taskID)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []string
	for _, w := range c.workers {
		runs := w.busy[id] || w.cut && w.running[id]
		if !runs || !w.gone.IsZero() {
			continue
		}
		text := "the task's handler still runs on " + w.name()
		if silent := w.silentFor(now); silent > lookAfter {
			text += fmt.Sprintf(", of which nothing was heard for %s", silent.Round(time.Second))
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func (w *worker) name() string {
	if host := w.host(); host != "" {
		return fmt.Sprintf("worker %s on %s", w.id, host)
	}
	return "worker " + w.id
}

// lack is why a worker does not know a cancellation.
func (w *worker) lack(now time.Time) string {
	switch silent := w.silentFor(now); {
	case silent > lookAfter:
		return fmt.Sprintf("has not answered for %s", silent.Round(time.Second))
	case !w.away.IsZero():
		return fmt.Sprintf("can't be told, its control queue has been out of reach for %s", now.Sub(w.away).Round(time.Second))
	case !w.unread.IsZero():
		return fmt.Sprintf("has not read its control queue for %s", now.Sub(w.unread).Round(time.Second))
	case w.position == 0:
		return "has not been told yet what is cancelled"
	}
	return "has not said yet that it knows"
}

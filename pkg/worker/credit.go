package worker

import (
	"context"
	"fmt"
	"sync"

	"github.com/warrenmq/warren/pkg/broker"
)

// credit keeps as many messages asked for as the window allows, those that are
// held included, but while it is withdrawn. It asks for several at a time: to the
// queue each request is a command of its own, to be replicated as a message is.
type credit struct {
	receiver *broker.Receiver

	mu sync.Mutex
	// slots are those that the window is for.
	slots, window int
	// step is how many messages are asked for at a time, from 1.
	step int
	// held counts the messages that were received and are not settled; asked those,
	// and what was asked for besides.
	held, asked int
	open        bool
}

// fit makes the window one for so many slots and what is fetched besides. What a
// smaller one has no room for has to be withdrawn before.
func (c *credit) fit(slots, prefetch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fitLocked(slots, prefetch)
}

func (c *credit) fitLocked(slots, prefetch int) {
	// With half of the prefetch not asked for, no slot is idle yet.
	c.slots, c.window, c.step = slots, slots+prefetch, max(1, prefetch/2)
}

// grow has the window follow to more slots, and says whether it fits: it is false
// if there are fewer.
func (c *credit) grow(slots, prefetch int) (fits bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case slots == c.slots:
		return true, nil
	case slots < c.slots:
		return false, nil
	}
	c.fitLocked(slots, prefetch)
	if !c.open {
		return true, nil
	}
	return true, c.ask(1)
}

// extend asks for what the window has left.
func (c *credit) extend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		return nil
	}
	c.open, c.asked = true, c.held
	return c.ask(1)
}

// ask asks for what the window has left if that is at least so much.
func (c *credit) ask(atLeast int) error {
	n := c.window - c.asked
	if n < atLeast {
		return nil
	}
	c.asked += n
	if err := c.receiver.Credit(n); err != nil {
		return fmt.Errorf("ask for tasks: %w", err)
	}
	return nil
}

// withdraw takes back what is left. Messages that were on their way arrive
// before it returns.
func (c *credit) withdraw(ctx context.Context) error {
	c.mu.Lock()
	c.open = false
	c.mu.Unlock()
	if err := c.receiver.Drain(ctx); err != nil {
		return fmt.Errorf("take back the credit: %w", err)
	}
	return nil
}

// received counts a message.
func (c *credit) received() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
}

// settled asks for others in the place of those that were settled.
func (c *credit) settled() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held--
	if !c.open {
		return nil
	}
	c.asked--
	return c.ask(c.step)
}

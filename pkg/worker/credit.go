package worker

import (
	"context"
	"fmt"
	"sync"

	"github.com/warrenmq/warren/pkg/broker"
)

// credit keeps as many messages asked for as the window allows, those that are
// held included, but while it is withdrawn.
type credit struct {
	receiver *broker.Receiver
	window   int

	mu sync.Mutex
	// held counts the messages that were received and are not settled.
	held int
	open bool
}

// extend asks for what the window has left.
func (c *credit) extend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open || c.held >= c.window {
		c.open = true
		return nil
	}
	c.open = true
	if err := c.receiver.Credit(c.window - c.held); err != nil {
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

// settled asks for another message in the place of one that was settled.
func (c *credit) settled() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held--
	if !c.open || c.held >= c.window {
		return nil
	}
	if err := c.receiver.Credit(1); err != nil {
		return fmt.Errorf("ask for tasks: %w", err)
	}
	return nil
}

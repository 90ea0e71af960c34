package rawbroker

import (
	"context"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

const (
	dialTimeout  = 10 * time.Second
	closeTimeout = 5 * time.Second
)

// open opens a channel on a connection of its own, which is closed when the
// context ends.
func open(ctx context.Context, url string) (*amqp091.Channel, error) {
	conn, err := amqp091.DialConfig(url, amqp091.Config{Dial: amqp091.DefaultDial(dialTimeout)})
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = conn.CloseDeadline(time.Now().Add(closeTimeout)) })
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	return ch, nil
}

// openConfirming is open with publisher confirms.
func openConfirming(ctx context.Context, url string) (*amqp091.Channel, error) {
	ch, err := open(ctx, url)
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirms: %w", err)
	}
	return ch, nil
}

// Version is what a broker says of itself, such as "RabbitMQ 4.3.6" and
// "Erlang/OTP 27.3.4".
func Version(ctx context.Context, url string) (product, platform string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := amqp091.DialConfig(url, amqp091.Config{Dial: amqp091.DefaultDial(dialTimeout)})
	if err != nil {
		return "", "", fmt.Errorf("connect to the broker: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.CloseDeadline(time.Now()) })()
	property := func(name string) string {
		text, _ := conn.Properties[name].(string)
		return text
	}
	product, platform = property("product")+" "+property("version"), property("platform")
	if err := conn.CloseDeadline(time.Now().Add(closeTimeout)); err != nil {
		return "", "", fmt.Errorf("close the connection to the broker: %w", err)
	}
	return product, platform, nil
}

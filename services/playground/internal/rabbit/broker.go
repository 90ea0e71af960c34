//go:build unix

// Package rabbit gets the playground a RabbitMQ: the one it is given, or one
// that it starts and stops again. It touches no other, and takes no port that
// is in use.
package rabbit

import (
	"context"
	"fmt"
	"time"
)

const stopTimeout = time.Minute

// Config says which broker is wanted. The zero value is one that vanishes.
type Config struct {
	// Given are the URLs of a broker that runs already; empty starts one.
	Given []string
	// ComposeFile is a Docker Compose file with a service `rabbitmq`. Default:
	// none, so that Docker is not used.
	ComposeFile string
	// Project is the Docker Compose project to start it under, the caller's own.
	Project string
	// Keep leaves the broker's data for the next start with the same Project and
	// DataDir. Default: they are removed when it is stopped.
	Keep bool
	// DataDir is where a broker without Docker keeps its data. Default: a
	// temporary folder. It is needed with Keep.
	DataDir string
	// Port is the port to listen on where it is free. Default: any free one.
	Port int
	// Log is told what takes a while, and which ways were no ways. Required.
	Log func(format string, args ...any)
}

// Broker is a RabbitMQ that answers.
type Broker struct {
	// URLs are the addresses of its nodes.
	URLs []string
	// Origin says where it came from, for people.
	Origin string
	// Given says that it was there before and stays.
	Given bool

	stop func(context.Context) error
	log  func(format string, args ...any)
}

// Get returns the broker that was given, or else starts one: with Docker where
// an engine answers, with the RabbitMQ 4.3 on PATH, or with one that it
// installs into a folder of its own where that is possible. The error lists
// the ways; after the end of the context it is the context's cause. The context
// bounds the start only; the caller must Stop the broker.
func Get(ctx context.Context, cfg Config) (*Broker, error) {
	if len(cfg.Given) > 0 {
		return &Broker{URLs: cfg.Given, Origin: "the one in WARREN_AMQP_URL", Given: true}, nil
	}
	broker, err := start(ctx, cfg)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return broker, err
}

func start(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.ComposeFile != "" && engineAnswers(ctx, cfg.Log) {
		broker, err := startContainer(ctx, cfg)
		if err == nil || ctx.Err() != nil {
			return broker, err
		}
		cfg.Log("Docker could not start it, so without Docker: %v", err)
	}
	return startNode(ctx, cfg)
}

// Stop stops the broker if Get started it, also when the context has ended. It
// takes a minute at most; a broker that needs longer is killed, unless it is
// Docker's.
func (b *Broker) Stop(ctx context.Context) error {
	if b.stop == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := b.stop(ctx); err != nil {
		return fmt.Errorf("stop the broker: %w", err)
	}
	b.log("stopped")
	return nil
}

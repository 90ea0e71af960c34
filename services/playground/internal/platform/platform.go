//go:build unix

// Package platform runs a Warren of one gateway, one dead-letter service and one
// demo worker, all as child processes of the playground.
package platform

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/warrenmq/warren/pkg/process"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

const (
	startTimeout = 45 * time.Second
	portTries    = 5
	// grace is what the processes are told; stopGrace, after which they are
	// killed, is longer.
	grace     = 10 * time.Second
	stopGrace = 20 * time.Second
)

// Config says what to start, and with what.
type Config struct {
	// BinDir has the binaries `gateway`, `deadletter` and `demo`. Required.
	BinDir string
	// Dir gets the stores, gateway.db and deadletter.db, and a log of each
	// process: gateway.log, deadletter.log, worker.log. Required.
	Dir string
	// Gateway and Deadletter say where the two serve. Default: on any free port of
	// 127.0.0.1, without health and metrics over HTTP.
	Gateway, Deadletter Addresses
	// AMQPURLs and Namespace say which broker to use. Required.
	AMQPURLs  []string
	Namespace string
	// Print is told of each step. Required.
	Print *show.Printer
}

// Addresses say where a service serves.
type Addresses struct {
	// Listen is for gRPC. Default: any free port of 127.0.0.1.
	Listen string
	// MetricsListen is for health and metrics over HTTP. Default: nowhere.
	MetricsListen string
}

// Platform is a gateway, a dead-letter service and a worker that run.
type Platform struct {
	// Gateway has the services of tasks and of operators.
	Gateway Server
	// Deadletter has the service of dead letters.
	Deadletter Server

	cfg    Config
	worker *process.Child
}

// Start starts the processes and returns once the gateway and the dead-letter
// service are SERVING and the worker's task types are known. The caller must
// Stop the platform, which is not nil after an error either.
func Start(ctx context.Context, cfg Config) (*Platform, error) {
	p := &Platform{cfg: cfg}
	if err := cfg.removeLogs(); err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("the platform did not start within %v", startTimeout))
	defer cancel()
	for range portTries {
		err := p.start(ctx)
		if err == nil || ctx.Err() != nil || !p.Gateway.lostPort(ctx) && !p.Deadletter.lostPort(ctx) {
			return p, err
		}
		cfg.Print.Line("again", "on other ports: %v", errors.Join(err, p.Stop()))
	}
	return p, fmt.Errorf("other processes took the ports that were free, %d times", portTries)
}

// start starts all processes before it waits for them: each waits for what it
// needs of the others, and the broker.
func (p *Platform) start(ctx context.Context) error {
	if err := p.launch(ctx); err != nil {
		return err
	}
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	if err := waitServing(ctx, p.Gateway.Conn, gatewayHealth()); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	p.cfg.Print.Line("gateway", "SERVING on %s", p.Gateway.Address)
	if err := waitServing(ctx, p.Deadletter.Conn, deadletterHealth()); err != nil {
		return fmt.Errorf("start the dead-letter service: %w", err)
	}
	p.cfg.Print.Line("deadletter", "SERVING on %s", p.Deadletter.Address)
	if err := waitRegistered(ctx, p.Gateway.Conn); err != nil {
		return fmt.Errorf("start the demo worker: %w", err)
	}
	p.cfg.Print.Line("worker", "has registered %s", taskTypes)
	return nil
}

func (p *Platform) launch(ctx context.Context) error {
	if err := p.launchServer(ctx, gatewaySpec(p.cfg), &p.Gateway); err != nil {
		return err
	}
	if err := p.launchServer(ctx, deadletterSpec(p.cfg, p.Gateway.Address), &p.Deadletter); err != nil {
		return err
	}
	worker, err := process.Start(process.Spec{
		Name:    "the demo worker",
		Program: filepath.Join(p.cfg.BinDir, workerBinary),
		Args:    []string{"work", "--grace=" + grace.String()},
		Env:     p.brokerSettings(),
		LogFile: filepath.Join(p.cfg.Dir, workerLog),
	})
	p.worker = worker
	return err
}

// brokerSettings are variables and not flags, which others on this machine
// could read: a URL may have a password.
func (p *Platform) brokerSettings() []string {
	return []string{
		"WARREN_AMQP_URL=" + strings.Join(p.cfg.AMQPURLs, " "),
		"WARREN_NAMESPACE=" + p.cfg.Namespace,
	}
}

// Guard is a context that ends too when one of the processes has ended by
// itself; its cause says which one, and how.
func (p *Platform) Guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	for _, child := range p.children() {
		go func() {
			select {
			case <-child.Done():
				end(child.Ended())
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { end(context.Canceled) }
}

// Stop stops the worker, which drains, then the dead-letter service and the
// gateway. It takes 60 s at most. A process that had to be killed, or ended with
// an error, is an error. A second call does nothing.
func (p *Platform) Stop() error {
	var failed []error
	for _, child := range p.children() {
		err := child.Stop(stopGrace)
		if err == nil {
			p.cfg.Print.Line("stopped", "%s", child.Name())
		}
		failed = append(failed, err)
	}
	failed = append(failed, p.Deadletter.disconnect(), p.Gateway.disconnect())
	p.worker, p.Deadletter.child, p.Gateway.child = nil, nil, nil
	return errors.Join(failed...)
}

// children are the processes that were started, in the order to stop them in.
func (p *Platform) children() []*process.Child {
	var started []*process.Child
	for _, child := range []*process.Child{p.worker, p.Deadletter.child, p.Gateway.child} {
		if child != nil {
			started = append(started, child)
		}
	}
	return started
}

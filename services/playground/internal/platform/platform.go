//go:build unix

// Package platform runs a Warren of one gateway and one demo worker, both as
// child processes of the playground.
package platform

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/warrenmq/warren/services/playground/internal/ports"
	"github.com/warrenmq/warren/services/playground/internal/process"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

const (
	startTimeout = 45 * time.Second
	portTries    = 5
	// grace is what both processes are told; stopGrace, after which they are
	// killed, is longer.
	grace     = 10 * time.Second
	stopGrace = 20 * time.Second
)

// Retries for what the API says to call again; submitting is not retried,
// because it is not idempotent.
const serviceConfig = `{"methodConfig": [{
	"name": [
		{"service": "warren.task.v1.TaskService", "method": "GetTask"},
		{"service": "warren.task.v1.TaskService", "method": "WaitTask"},
		{"service": "warren.task.v1.TaskService", "method": "WatchTask"},
		{"service": "warren.task.v1.TaskService", "method": "ListTaskAttempts"}
	],
	"retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

// Config says what to start, and with what.
type Config struct {
	// BinDir has the binaries `gateway` and `demo`. Required.
	BinDir string
	// LogDir gets gateway.log and worker.log. Required.
	LogDir string
	// StoreFile is the gateway's SQLite file. Required.
	StoreFile string
	// Listen is the gateway's address. Default: any free port of 127.0.0.1.
	Listen string
	// MetricsListen is where the gateway serves its health over HTTP. Default:
	// nowhere.
	MetricsListen string
	// AMQPURLs and Namespace say which broker to use. Required.
	AMQPURLs  []string
	Namespace string
	// Print is told of each step. Required.
	Print *show.Printer
}

// Platform is a gateway and a worker that run.
type Platform struct {
	// Address is where the gateway listens.
	Address string
	// Conn is a connection to the gateway.
	Conn *grpc.ClientConn

	cfg     Config
	gateway *process.Child
	worker  *process.Child
}

// Start starts both processes and returns once the gateway is SERVING and the
// worker's task types are known to it. The caller must Stop the platform, which
// is not nil after an error either.
func Start(ctx context.Context, cfg Config) (*Platform, error) {
	p := &Platform{cfg: cfg}
	if err := cfg.removeLogs(); err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("the platform did not start within %v", startTimeout))
	defer cancel()
	if err := p.startGateway(ctx); err != nil {
		return p, fmt.Errorf("start the gateway: %w", err)
	}
	cfg.Print.Line("gateway", "SERVING on %s", p.Address)
	if err := p.startWorker(ctx); err != nil {
		return p, fmt.Errorf("start the demo worker: %w", err)
	}
	cfg.Print.Line("worker", "has registered %s", taskTypes)
	return p, nil
}

// startGateway takes another port when somebody took the one that it chose.
func (p *Platform) startGateway(ctx context.Context) error {
	if p.cfg.Listen != "" {
		return p.tryGateway(ctx, p.cfg.Listen)
	}
	var failed error
	for range portTries {
		port, err := ports.AnyFree(ctx)
		if err != nil {
			return err
		}
		failed = p.tryGateway(ctx, ports.Loopback(port))
		if failed == nil || ctx.Err() != nil || ports.Free(ctx, port) {
			return failed
		}
		failed = errors.Join(failed, p.Stop())
	}
	return failed
}

func (p *Platform) tryGateway(ctx context.Context, address string) error {
	gateway, err := process.Start(process.Spec{
		Name:    "the gateway",
		Program: filepath.Join(p.cfg.BinDir, gatewayBinary),
		Args: []string{
			"--listen=" + address, "--metrics-listen=" + p.cfg.MetricsListen,
			"--store-url=sqlite:" + p.cfg.StoreFile, "--grace=" + grace.String(),
		},
		Env:     p.brokerSettings(),
		LogFile: filepath.Join(p.cfg.LogDir, gatewayLog),
	})
	if err != nil {
		return err
	}
	p.gateway, p.Address = gateway, address
	p.Conn, err = grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// The default waits up to 2 min between dials; the gateway is here within
		// seconds.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: pollInterval, Multiplier: 1.5, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
	)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	return waitServing(ctx, p.Conn)
}

func (p *Platform) startWorker(ctx context.Context) error {
	worker, err := process.Start(process.Spec{
		Name:    "the demo worker",
		Program: filepath.Join(p.cfg.BinDir, workerBinary),
		Args:    []string{"work", "--grace=" + grace.String()},
		Env:     p.brokerSettings(),
		LogFile: filepath.Join(p.cfg.LogDir, workerLog),
	})
	if err != nil {
		return err
	}
	p.worker = worker
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	return waitRegistered(ctx, p.Conn)
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

// Stop stops the worker, which drains, and then the gateway. It takes 40 s at
// most. A process that had to be killed, or ended with an error, is an error.
// A second call does nothing.
func (p *Platform) Stop() error {
	var failed []error
	for _, child := range p.children() {
		err := child.Stop(stopGrace)
		if err == nil {
			p.cfg.Print.Line("stopped", "%s", child.Name())
		}
		failed = append(failed, err)
	}
	if p.Conn != nil {
		failed = append(failed, p.Conn.Close())
	}
	p.worker, p.gateway, p.Conn = nil, nil, nil
	return errors.Join(failed...)
}

// children are the processes that were started, in the order to stop them in.
func (p *Platform) children() []*process.Child {
	var started []*process.Child
	for _, child := range []*process.Child{p.worker, p.gateway} {
		if child != nil {
			started = append(started, child)
		}
	}
	return started
}

//go:build unix

// Package run leaves a Warren of one gateway, one dead-letter service and one
// demo worker up for whoever wants to try it, until it is told to stop.
package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/warrenmq/warren/services/playground/internal/platform"
	"github.com/warrenmq/warren/services/playground/internal/rabbit"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

const (
	defaultBrokerPort = 5672
	namespace         = "warren"
	// guestNamespace is used on a broker that others may use too.
	guestNamespace = "warren-playground"
)

// Config says where the platform runs.
type Config struct {
	// BinDir has the binaries `gateway`, `deadletter` and `demo`. Required.
	BinDir string
	// DataDir keeps what is to outlive a run: the stores, the broker's data, and
	// the logs of the last run. Required; it is made when it is not there.
	DataDir string
	// Gateway and Deadletter say where the two serve. Listen is required.
	Gateway, Deadletter platform.Addresses
	// ComposeFile is a Docker Compose file with a service `rabbitmq`. Default:
	// none, so that Docker is not used.
	ComposeFile string
	// AMQPURLs are those of a broker that runs already. Default: one is started,
	// on port 5672 if that is free.
	AMQPURLs []string
	// Print is where the user is told. Required.
	Print *show.Printer
}

// Run runs the platform until the context ends, and then stops it: the worker,
// the dead-letter service, the gateway, the broker. That takes 2 min at most. A process that ends by
// itself is an error, as is one that had to be killed.
func Run(ctx context.Context, cfg Config) (err error) {
	if err := platform.CheckBinaries(cfg.BinDir); err != nil {
		return err
	}
	dir, unlock, err := openDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := checkAddresses(ctx, cfg); err != nil {
		return err
	}
	cfg.Print.Title("Starting")
	broker, err := rabbit.Get(ctx, rabbit.Config{
		Given:       cfg.AMQPURLs,
		ComposeFile: cfg.ComposeFile,
		Project:     projectOf(dir),
		Keep:        true,
		DataDir:     filepath.Join(dir, "rabbitmq"),
		Port:        defaultBrokerPort,
		Log:         func(format string, args ...any) { cfg.Print.Line("broker", format, args...) },
	})
	if err != nil {
		return fmt.Errorf("get a broker: %w", err)
	}
	defer func() { err = errors.Join(err, broker.Stop(ctx)) }()
	cfg.Print.Line("broker", "%s", broker.Origin)
	return withPlatform(ctx, platform.Config{
		BinDir: cfg.BinDir, Dir: dir, Gateway: cfg.Gateway, Deadletter: cfg.Deadletter,
		AMQPURLs: broker.URLs, Namespace: namespaceOn(broker), Print: cfg.Print,
	})
}

// checkAddresses says which of the addresses can't be had.
func checkAddresses(ctx context.Context, cfg Config) error {
	for _, a := range []struct{ flag, address string }{
		{"listen", cfg.Gateway.Listen},
		{"metrics-listen", cfg.Gateway.MetricsListen},
		{"deadletter-listen", cfg.Deadletter.Listen},
		{"deadletter-metrics-listen", cfg.Deadletter.MetricsListen},
	} {
		if a.address == "" {
			continue
		}
		if err := platform.CheckListen(ctx, a.flag, a.address); err != nil {
			return err
		}
	}
	return nil
}

func withPlatform(ctx context.Context, cfg platform.Config) error {
	cfg.Print.Line("namespace", "%s", cfg.Namespace)
	cfg.Print.Line("logs", "%s", filepath.Join(cfg.Dir, "*.log"))
	p, err := platform.Start(ctx, cfg)
	if err == nil {
		err = serve(ctx, p, cfg)
	}
	cfg.Print.Title("Stopping")
	stopped := p.Stop()
	if ctx.Err() != nil {
		return stopped
	}
	cfg.PrintLogs()
	return errors.Join(err, stopped)
}

// serve tells what there is to try, and waits. It ends with an error only when
// a process has ended by itself.
func serve(ctx context.Context, p *platform.Platform, cfg platform.Config) error {
	picture, err := writeSample(cfg.Dir)
	if err != nil {
		return err
	}
	cfg.Print.Text(thingsToTry(p.Gateway.Address, p.Deadletter.Address, picture))
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	<-ctx.Done()
	return context.Cause(ctx)
}

func namespaceOn(broker *rabbit.Broker) string {
	if broker.Given {
		return guestNamespace
	}
	return namespace
}

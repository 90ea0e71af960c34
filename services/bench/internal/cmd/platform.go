//go:build unix

package cmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/services/bench/internal/machine"
	"github.com/warrenmq/warren/services/bench/internal/platform"
	"github.com/warrenmq/warren/services/bench/internal/rawbroker"
	"github.com/warrenmq/warren/services/bench/internal/report"
)

// measured is a platform that runs.
type measured struct {
	*platform.Platform
	cfg   platform.Config
	setup report.Setup
}

// onPlatform starts a platform and has something measured on it; of its settings only
// those of the measures are taken. Everything that it starts has ended when it returns.
func (f *flags) onPlatform(ctx context.Context, s streams, cfg platform.Config, measure func(context.Context, measured) error) (err error) {
	gateway := filepath.Join(f.BinDir, "gateway")
	if _, err := os.Stat(gateway); err != nil {
		return fmt.Errorf("the gateway's binary is not there, `make build` builds it: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "warren-bench-")
	if err != nil {
		return fmt.Errorf("make a folder for the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	amqp, err := platform.GetBroker(ctx, f.AMQPURL, s.note)
	if err != nil {
		return fmt.Errorf("get a broker: %w", err)
	}
	defer func() { err = errors.Join(err, amqp.Close()) }()
	cfg.Broker, cfg.Namespace, cfg.Gateway, cfg.Bench, cfg.Dir = amqp, f.Namespace, gateway, self, dir
	if cfg.Namespace == "" {
		cfg.Namespace = "bench-" + strings.ToLower(rand.Text()[:8])
	}
	p, err := platform.Start(ctx, cfg)
	if err == nil {
		err = start(ctx, p, cfg, measure)
	}
	if err = errors.Join(err, p.Stop()); err != nil && ctx.Err() == nil {
		p.ShowLogs(s.log)
	}
	return err
}

// start measures on a platform that runs.
func start(ctx context.Context, p *platform.Platform, cfg platform.Config, measure func(context.Context, measured) error) error {
	product, erlang, err := rawbroker.Version(ctx, cfg.Broker.URL)
	if err != nil {
		return err
	}
	return measure(ctx, measured{Platform: p, cfg: cfg, setup: report.Setup{
		Time: time.Now().UTC(), Version: buildinfo.Version(), Machine: machine.Look(cfg.Dir), Broker: product, Erlang: erlang,
	}})
}

package service

import (
	"context"
	"log/slog"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/health"
	"github.com/warrenmq/warren/pkg/ops"
	"github.com/warrenmq/warren/pkg/rpc"
)

// What the worker waits for, as its probes call it.
const (
	needsBroker = "broker"
	needsTarget = "target"
)

// openHealth prepares the probes. What they find is logged already by who found
// it first.
func (s *service) openHealth(ctx context.Context) (err error) {
	cfg := s.cfg.Broker
	cfg.Logger = slog.New(slog.DiscardHandler)
	s.broker = broker.NewConnection(cfg, "health", nil)
	s.health = health.New(cfg.Logger, "worker",
		health.Check{Service: needsBroker, Works: func(ctx context.Context) error { return s.broker.Do(ctx, (*broker.Topology).CheckShared) }},
		health.Check{Service: needsTarget, Works: func(context.Context) error { return s.watcher.trouble() }},
	)
	if s.cfg.MetricsListen == "" {
		return nil
	}
	if s.metrics, err = rpc.Listen(ctx, "metrics-listen", s.cfg.MetricsListen, s.cfg.Insecure); err != nil {
		return err
	}
	return nil
}

// ops is what the worker's port for operators serves.
func (s *service) ops() ops.Config {
	return ops.Config{Ready: s.health.Trouble, Metrics: s.cfg.Metrics, Profiling: s.cfg.Profiling, Logger: s.cfg.Logger}
}

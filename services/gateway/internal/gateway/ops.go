package gateway

import "github.com/warrenmq/warren/pkg/ops"

// ops is what the gateway's port for operators serves.
func (g *gateway) ops() ops.Config {
	return ops.Config{Ready: g.health.Trouble, Metrics: g.cfg.Metrics, Profiling: g.cfg.Profiling, Logger: g.cfg.Logger}
}

// unready tells all who ask that the gateway is stopping.
func (g *gateway) unready() {
	g.cfg.Logger.Info("stopping: not ready any more, calls under way may finish", "delay", g.cfg.ShutdownDelay, "grace", g.cfg.Grace)
	g.health.Shutdown()
}

package service

import "github.com/warrenmq/warren/pkg/ops"

// ops is what the service's port for operators serves.
func (s *service) ops() ops.Config {
	return ops.Config{Ready: s.health.Trouble, Metrics: s.cfg.Metrics, Profiling: s.cfg.Profiling, Logger: s.cfg.Logger}
}

// unready tells all who ask that the service is stopping.
func (s *service) unready() {
	s.cfg.Logger.Info("stopping: not ready any more, calls under way may finish", "delay", s.cfg.ShutdownDelay, "grace", s.cfg.Grace)
	s.health.Shutdown()
}

// Package health keeps a process's health, as its checks find it, for gRPC's health
// protocol and for others who ask.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Health is true within 5 s: a check at least every period, each of which ends
// within its timeout.
const (
	healthPeriod  = time.Second
	healthTimeout = 3 * time.Second
)

// Store is the health service name of a process's store.
const Store = "warren.store"

// errUnchecked is why a service counts as not working at first.
var errUnchecked = errors.New("not checked yet")

// Health keeps what works and what does not. It does while its Run does.
type Health struct {
	server *grpchealth.Server
	log    *slog.Logger
	// process is what it is called, for people.
	process string
	checks  []Check

	mu       sync.Mutex
	stopping bool
	// troubles are why services do not work, by their names.
	troubles map[string]error
}

// Check is one health service, and what decides whether it works.
type Check struct {
	Service string
	Works   func(context.Context) error
}

// New makes the health of a process, called so for people, in which nothing
// works yet.
func New(log *slog.Logger, process string, checks ...Check) *Health {
	h := &Health{server: grpchealth.NewServer(), log: log, process: process, checks: checks, troubles: map[string]error{}}
	for _, c := range h.checks {
		h.troubles[c.Service] = errUnchecked
		h.server.SetServingStatus(c.Service, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	return h
}

// Register serves gRPC's health protocol.
func (h *Health) Register(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, h.server) }

// Shutdown says NOT_SERVING for good.
func (h *Health) Shutdown() {
	h.server.Shutdown()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// Trouble says what does not work, or that the process is stopping, nil if all is well.
func (h *Health) Trouble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []error
	if h.stopping {
		all = append(all, fmt.Errorf("this %s is stopping", h.process))
	}
	for _, c := range h.checks {
		if err := h.troubles[c.Service]; err != nil {
			all = append(all, fmt.Errorf("%s: %w", c.Service, err))
		}
	}
	return errors.Join(all...)
}

// Run checks until ctx ends.
func (h *Health) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, c := range h.checks {
		wg.Go(func() { h.watch(ctx, c) })
	}
	wg.Wait()
}

func (h *Health) watch(ctx context.Context, c Check) {
	ticker := time.NewTicker(healthPeriod)
	defer ticker.Stop()
	for {
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		h.note(c.Service, err)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c Check) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return c.Works(ctx)
}

// note takes down what a check has found, and logs what has changed.
func (h *Health) note(service string, err error) {
	h.mu.Lock()
	before := h.troubles[service]
	h.troubles[service] = err
	h.mu.Unlock()
	switch {
	case err == nil && before != nil:
		h.server.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
		h.log.Info("serving", "service", service)
	case err != nil && errors.Is(before, errUnchecked):
		h.log.Warn("not serving yet, waiting", "service", service, "for", err)
	case err != nil && before == nil:
		h.server.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		h.log.Error("not serving", "service", service, "error", err)
	}
}

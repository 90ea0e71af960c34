package service

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

// Health service names of what is no gRPC service.
const (
	storeService   = "warren.store"
	gatewayService = "warren.gateway"
)

// errUnchecked is why a service counts as not working at first.
var errUnchecked = errors.New("not checked yet")

// health keeps the gRPC health of what this process needs.
type health struct {
	server *grpchealth.Server
	log    *slog.Logger
	checks []check

	mu       sync.Mutex
	stopping bool
	// troubles are why services do not work, by their names.
	troubles map[string]error
}

// check is one service and what decides its health.
type check struct {
	service string
	works   func(context.Context) error
}

func newHealth(log *slog.Logger, checks ...check) *health {
	h := &health{server: grpchealth.NewServer(), log: log, checks: checks, troubles: map[string]error{}}
	for _, c := range h.checks {
		h.troubles[c.service] = errUnchecked
		h.server.SetServingStatus(c.service, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	return h
}

func (h *health) register(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, h.server) }

// shutdown says NOT_SERVING for good.
func (h *health) shutdown() {
	h.server.Shutdown()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// trouble says what does not work, nil if all does.
func (h *health) trouble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []error
	if h.stopping {
		all = append(all, errors.New("this dead-letter service is stopping"))
	}
	for _, c := range h.checks {
		if err := h.troubles[c.service]; err != nil {
			all = append(all, fmt.Errorf("%s: %w", c.service, err))
		}
	}
	return errors.Join(all...)
}

// run checks until ctx ends.
func (h *health) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, c := range h.checks {
		wg.Go(func() { h.watch(ctx, c) })
	}
	wg.Wait()
}

func (h *health) watch(ctx context.Context, c check) {
	ticker := time.NewTicker(healthPeriod)
	defer ticker.Stop()
	for {
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		h.note(c.service, err)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c check) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return c.works(ctx)
}

// note takes down what a check has found, and logs what has changed.
func (h *health) note(service string, err error) {
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

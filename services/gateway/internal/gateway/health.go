package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Health is true within 5 s: a check at least every period, each of which ends
// within its timeout.
const (
	healthPeriod  = time.Second
	healthTimeout = 3 * time.Second
)

// storeService is the health service name of the store.
const storeService = "warren.store"

// health keeps the gRPC health of the broker and the store.
type health struct {
	server *grpchealth.Server
	log    *slog.Logger
	checks []check
}

// check is one service and what decides its health.
type check struct {
	service string
	works   func(context.Context) error
}

func newHealth(g *Gateway) *health {
	h := &health{server: grpchealth.NewServer(), log: g.cfg.Logger, checks: []check{
		{taskv1.TaskService_ServiceDesc.ServiceName, g.publisher.Probe},
		{storeService, g.cfg.Store.Check},
	}}
	for _, c := range h.checks {
		h.server.SetServingStatus(c.service, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	return h
}

func (h *health) register(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, h.server) }

// shutdown says NOT_SERVING for good.
func (h *health) shutdown() { h.server.Shutdown() }

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
	was := false
	for {
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if works := err == nil; works != was {
			was = works
			h.change(c.service, err)
		}
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

func (h *health) change(service string, err error) {
	if err != nil {
		h.server.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		h.log.Error("not serving", "service", service, "error", err)
		return
	}
	h.server.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
	h.log.Info("serving", "service", service)
}

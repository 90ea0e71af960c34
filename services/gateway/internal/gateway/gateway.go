// Package gateway puts the gateway process together.
package gateway

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/api"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/registry"
	"github.com/warrenmq/warren/services/gateway/internal/retention"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// declareTimeout bounds the wait of one connection for the other.
const declareTimeout = 5 * time.Second

// overhead is what a message may have besides a payload of the largest size.
const overhead = 4 << 20

// gateway is one gateway process.
type gateway struct {
	cfg Config
	resources
	publish    *broker.Connection
	consume    *broker.Connection
	publisher  *broker.Publisher
	status     *broker.StatusWriter
	registry   *registry.Registry
	projection *projection.Projection
	tasks      *api.TaskService
	server     *grpc.Server
	health     *health
	// stopping is closed when what would go on for ever is to end.
	stopping chan struct{}
}

// newGateway puts a gateway together; nothing runs yet.
func newGateway(cfg Config, r resources) (*gateway, error) {
	g := &gateway{cfg: cfg, resources: r, stopping: make(chan struct{})}
	id, types, hub, names := task.NewID(), catalogue.New(), watch.NewHub(), cfg.Broker.Names()
	// The registry is made after the connection on which it declares topology.
	declare := func(t *broker.Topology) error { return g.registry.Declare(t) }
	g.consume = broker.NewConnection(cfg.Broker, "consume", declare)
	g.publish = broker.NewConnection(cfg.Broker, "publish", g.awaitDeclared)
	g.publisher = broker.NewPublisher(g.publish)
	g.status = broker.NewStatusWriter(g.publisher)
	g.registry = registry.New(registry.Config{
		GatewayID: id, Names: names, Catalogue: types, Store: g.store, Controller: g.publisher, Topology: g.consume,
		MaxResultBytes: int64(cfg.MaxPayloadBytes), Logger: cfg.Logger,
	})
	g.projection = projection.New(g.store, hub, g.publisher, g.status, cfg.Logger)
	g.consume.Subscribe(g.projection.Subscription(names))
	g.consume.Subscribe(g.registry.Requests())
	g.consume.Subscribe(g.registry.Beats())
	g.tasks = api.NewTaskService(api.Config{
		Names: names, Catalogue: types, CatalogueLoaded: g.registry.Loaded, Publisher: g.publisher, Status: g.status,
		Store: g.store, Hub: hub, Projection: g.projection,
		Redeclare: func(ctx context.Context, taskType string) error {
			return g.consume.Do(ctx, func(t *broker.Topology) error { return t.DeclareWork(taskType) })
		},
		MaxPayloadBytes: cfg.MaxPayloadBytes, TracerProvider: otel.GetTracerProvider(), Logger: cfg.Logger,
	})
	var err error
	g.server, err = rpc.NewServer(rpc.ServerConfig{
		Logger: cfg.Logger, MaxMessageBytes: cfg.MaxPayloadBytes + overhead, MaxPayloadBytes: cfg.MaxPayloadBytes,
		LongCalls: []string{taskv1.TaskService_WaitTask_FullMethodName}, Stopping: g.stopping,
	})
	if err != nil {
		return nil, fmt.Errorf("make the gRPC server: %w", err)
	}
	taskv1.RegisterTaskServiceServer(g.server, g.tasks)
	g.health = newHealth(cfg.Logger, check{taskv1.TaskService_ServiceDesc.ServiceName, g.publisher.Probe}, check{storeService, g.store.Check})
	g.health.register(g.server)
	catalogue.RegisterReflection(g.server, types)
	return g, nil
}

// awaitDeclared lets publishing wait for the topology. It is declared on one
// connection only: declaring a quorum queue on two at once can take seconds.
func (g *gateway) awaitDeclared(*broker.Topology) error {
	ctx, cancel := context.WithTimeout(context.Background(), declareTimeout)
	defer cancel()
	return g.consume.Do(ctx, func(*broker.Topology) error { return nil })
}

// run serves until ctx ends. Then calls end first, and what they need after
// them.
func (g *gateway) run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var below errgroup.Group
	for _, run := range []func(context.Context){
		g.publish.Run, g.consume.Run, g.status.Run, g.registry.Run, g.health.run,
		retention.NewSweeper(g.store, g.cfg.Retention, g.cfg.Logger).Run,
		func(ctx context.Context) { g.serveProbes(ctx, g.metrics) },
	} {
		below.Go(func() error {
			run(background)
			return nil
		})
	}
	g.cfg.Logger.Info("listening", "address", g.api.Addr().String())
	if g.metrics != nil {
		g.cfg.Logger.Info("health is served over HTTP", "address", g.metrics.Addr().String())
	}
	err := rpc.Serve(ctx, g.server, g.api, g.cfg.Grace, func() {
		g.cfg.Logger.Info("stopping: calls under way may finish", "grace", g.cfg.Grace)
		g.health.shutdown()
		g.tasks.Stop()
		close(g.stopping)
	})
	cancel()
	_ = below.Wait()
	return err
}

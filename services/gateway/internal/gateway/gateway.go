// Package gateway puts the gateway process together.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
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
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// declareTimeout bounds the wait of one connection for the other.
const declareTimeout = 5 * time.Second

// overhead is what a message may have besides a payload of the largest size.
const overhead = 4 << 20

// Config configures a gateway.
type Config struct {
	Broker          broker.Config
	Store           store.Store
	Listener        net.Listener
	MaxPayloadBytes int
	Retention       time.Duration
	Grace           time.Duration
	Logger          *slog.Logger
}

// Gateway is one gateway process.
type Gateway struct {
	cfg        Config
	publish    *broker.Connection
	consume    *broker.Connection
	publisher  *broker.Publisher
	status     *broker.StatusWriter
	registry   *registry.Registry
	projection *projection.Projection
	tasks      *api.TaskService
	server     *grpc.Server
	health     *health
}

// New puts a gateway together; nothing runs yet.
func New(cfg Config) (*Gateway, error) {
	g := &Gateway{cfg: cfg}
	id, types, hub, names := task.NewID(), catalogue.New(), watch.NewHub(), cfg.Broker.Names()
	// The registry is made after the connection on which it declares topology.
	declare := func(t *broker.Topology) error { return g.registry.Declare(t) }
	g.consume = broker.NewConnection(cfg.Broker, "consume", declare)
	g.publish = broker.NewConnection(cfg.Broker, "publish", g.awaitDeclared)
	g.publisher = broker.NewPublisher(g.publish)
	g.status = broker.NewStatusWriter(g.publisher)
	g.registry = registry.New(registry.Config{
		GatewayID: id, Names: names, Catalogue: types, Store: cfg.Store, Controller: g.publisher, Topology: g.consume,
		MaxResultBytes: int64(cfg.MaxPayloadBytes), Logger: cfg.Logger,
	})
	g.projection = projection.New(cfg.Store, hub, g.publisher, g.status, cfg.Logger)
	g.consume.Subscribe(g.projection.Subscription(names))
	g.consume.Subscribe(g.registry.Requests())
	g.consume.Subscribe(g.registry.Beats())
	g.tasks = api.NewTaskService(api.Config{
		Names: names, Catalogue: types, CatalogueLoaded: g.registry.Loaded, Publisher: g.publisher, Status: g.status,
		Store: cfg.Store, Hub: hub, Projection: g.projection,
		Redeclare:       func(ctx context.Context) error { return g.consume.Do(ctx, declare) },
		MaxPayloadBytes: cfg.MaxPayloadBytes, TracerProvider: otel.GetTracerProvider(), Logger: cfg.Logger,
	})
	var err error
	g.server, err = rpc.NewServer(rpc.ServerConfig{
		Logger: cfg.Logger, MaxMessageBytes: cfg.MaxPayloadBytes + overhead,
		LongCalls: []string{taskv1.TaskService_WaitTask_FullMethodName},
	})
	if err != nil {
		return nil, fmt.Errorf("make the gRPC server: %w", err)
	}
	taskv1.RegisterTaskServiceServer(g.server, g.tasks)
	g.health = newHealth(g)
	g.health.register(g.server)
	catalogue.RegisterReflection(g.server, types)
	return g, nil
}

// awaitDeclared lets publishing wait for the topology. It is declared on one
// connection only: declaring a quorum queue on two at once can take seconds.
func (g *Gateway) awaitDeclared(*broker.Topology) error {
	ctx, cancel := context.WithTimeout(context.Background(), declareTimeout)
	defer cancel()
	return g.consume.Do(ctx, func(*broker.Topology) error { return nil })
}

// Run serves until ctx ends. Then calls end first, and what they need after
// them.
func (g *Gateway) Run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var below errgroup.Group
	for _, run := range []func(context.Context){
		g.publish.Run, g.consume.Run, g.status.Run, g.registry.Run, g.health.run,
		retention.NewSweeper(g.cfg.Store, g.cfg.Retention, g.cfg.Logger).Run,
	} {
		below.Go(func() error {
			run(background)
			return nil
		})
	}
	g.cfg.Logger.Info("listening", "address", g.cfg.Listener.Addr().String())
	err := rpc.Serve(ctx, g.server, g.cfg.Listener, g.cfg.Grace, func() {
		g.cfg.Logger.Info("stopping: calls under way may finish", "grace", g.cfg.Grace)
		g.health.shutdown()
		g.tasks.Stop()
	})
	cancel()
	_ = below.Wait()
	return err
}

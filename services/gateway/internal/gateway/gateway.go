// Package gateway puts the gateway process together.
package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"google.golang.org/grpc"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/health"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/admin"
	"github.com/warrenmq/warren/services/gateway/internal/api"
	"github.com/warrenmq/warren/services/gateway/internal/calls"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/depth"
	"github.com/warrenmq/warren/services/gateway/internal/later"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/registry"
	"github.com/warrenmq/warren/services/gateway/internal/retention"
	"github.com/warrenmq/warren/services/gateway/internal/schedules"
	"github.com/warrenmq/warren/services/gateway/internal/starts"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
	"github.com/warrenmq/warren/services/gateway/internal/topology"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// topologyService is the health service name of the topology in RabbitMQ.
const topologyService = "warren.topology"

// declareTimeout bounds the wait of one connection for the other.
const declareTimeout = 5 * time.Second

// gateway is one gateway process.
type gateway struct {
	cfg Config
	resources
	publish    *broker.Connection
	consume    *broker.Connection
	publisher  *broker.Publisher
	status     *broker.StatusWriter
	types      *tasktypes.Types
	starts     *starts.Issuer
	depth      *depth.Gauge
	topology   *topology.Checker
	registry   *registry.Registry
	control    *control.Control
	projection *projection.Projection
	// management is nil if the gateway has none.
	management *management.Client
	queues     *queues.Reader
	tasks      *api.TaskService
	later      *later.Loop
	schedules  *schedules.Engine
	// clock tells what is due.
	clock  func() time.Time
	server *grpc.Server
	health *health.Health
	// measures tell of what is measured, for as long as they run.
	measures []func(context.Context)
	// stopping is closed when what would go on for ever is to end.
	stopping chan struct{}
}

// newGateway puts a gateway together; nothing runs yet.
func newGateway(cfg Config, r resources) (*gateway, error) {
	g := &gateway{cfg: cfg, resources: r, clock: later.Clock(), stopping: make(chan struct{})}
	id, known, hub, names := task.NewID(), catalogue.New(), watch.NewHub(), cfg.Broker.Names()
	// The registry is made after the connection on which it declares topology.
	declare := func(t *broker.Topology) error { return g.registry.Declare(t) }
	g.consume = broker.NewConnection(cfg.Broker, "consume", declare)
	g.publish = broker.NewConnection(cfg.Broker, "publish", g.awaitDeclared)
	g.publisher = broker.NewPublisher(g.publish)
	g.status = broker.NewStatusWriter(g.publisher)
	g.types = tasktypes.New(known, g.store, cfg.Logger)
	g.depth = depth.New(g.types, g.consume)
	g.projection = projection.New(g.store, hub, g.publisher, g.status, cfg.Logger)
	g.measure(known)
	g.starts = starts.NewIssuer(starts.Config{
		GatewayID: id, Projection: g.projection, Store: g.store, Controller: g.publisher, Logger: cfg.Logger,
	})
	g.control = g.newControl(id)
	if err := g.makeQueues(names); err != nil {
		return nil, err
	}
	g.registry = registry.New(registry.Config{
		GatewayID: id, Names: names, Catalogue: known, Types: g.types, Starts: g.starts, Control: g.control, Store: g.store, Controller: g.publisher, Topology: g.consume,
		MaxResultBytes: int64(cfg.MaxPayloadBytes), Logger: cfg.Logger,
	})
	g.types.LetIn(g.registry.Undisturbed)
	g.consume.Subscribe(g.projection.Subscription(names))
	g.consume.Subscribe(g.registry.Requests())
	g.consume.Subscribe(g.registry.Beats())
	g.tasks = api.NewTaskService(api.Config{
		Names: names, Catalogue: known, CatalogueLoaded: g.registry.Loaded, Types: g.types, Depth: g.depth, Publisher: g.publisher, Status: g.status,
		Store: g.store, Hub: hub, Projection: g.projection, Control: g.control, Fleet: g.control, Queues: g.queues,
		Redeclare: g.registry.Redeclare, Later: g.wakeLater, Clock: g.clock,
		MaxPayloadBytes: cfg.MaxPayloadBytes, TracerProvider: otel.GetTracerProvider(), MeterProvider: cfg.MeterProvider, Logger: cfg.Logger,
	})
	g.makeLater(hub)
	if err := g.makeChecker(known); err != nil {
		return nil, err
	}
	called := calls.New(calls.Config{Catalogue: known, CatalogueLoaded: g.registry.Loaded, Tasks: g.tasks, Logger: cfg.Logger})
	var err error
	g.server, err = rpc.NewServer(rpc.ServerConfig{
		Logger: cfg.Logger, MaxMessageBytes: maxMessageBytes(cfg.MaxPayloadBytes), MaxPayloadBytes: cfg.MaxPayloadBytes,
		LongCalls: []string{
			taskv1.TaskService_WaitTask_FullMethodName, taskv1.TaskService_CancelTask_FullMethodName, taskv1.TaskService_CancelTasks_FullMethodName,
			adminv1.AdminService_PurgeQueue_FullMethodName, adminv1.AdminService_RetireTaskType_FullMethodName,
		},
		Unknown: called.Handle, Known: called.Known, Stopping: g.stopping, MeterProvider: cfg.MeterProvider,
	})
	if err != nil {
		return nil, fmt.Errorf("make the gRPC server: %w", err)
	}
	taskv1.RegisterTaskServiceServer(g.server, g.tasks)
	adminv1.RegisterAdminServiceServer(g.server, admin.New(admin.Config{
		Types: g.types, CatalogueLoaded: g.registry.Loaded, Store: g.store, Workers: g.registry, Projection: g.projection, Topology: g.topology, Logger: cfg.Logger,
		Schedules: g.adminSchedules(), Control: g.control, Queues: g.queues, Status: g.status, OpenTaker: g.openTaker, Retirer: g.registry,
		Info: g.serverInfo(id).Info,
	}))
	g.health = health.New(cfg.Logger, "gateway",
		health.Check{Service: taskv1.TaskService_ServiceDesc.ServiceName, Works: g.submits},
		health.Check{Service: topologyService, Works: g.topology.Healthy},
		health.Check{Service: health.Store, Works: g.store.Check})
	g.health.Register(g.server)
	catalogue.RegisterReflection(g.server, known)
	return g, nil
}

// makeChecker makes the checker of the topology.
func (g *gateway) makeChecker(known *catalogue.Catalogue) error {
	var err error
	if g.topology, err = topology.New(topology.Config{
		Broker: g.cfg.Broker, Conn: g.consume, Management: g.management, Catalogue: known, Declare: g.registry.Declare, Logger: g.cfg.Logger,
		MeterProvider: g.cfg.MeterProvider,
	}); err != nil {
		return fmt.Errorf("make the checker of the topology: %w", err)
	}
	return nil
}

// ages says how long tasks are kept by the types that have a retention of their
// own, once all types and what operators have said of them are known.
func (g *gateway) ages() (map[string]time.Duration, bool) {
	return g.types.Retentions(), g.registry.Loaded() && g.types.Loaded()
}

// submits says whether tasks are taken and none that is taken can be lost.
func (g *gateway) submits(ctx context.Context) error {
	if err := g.publisher.Probe(ctx); err != nil {
		return err
	}
	return g.topology.Healthy(ctx)
}

// awaitDeclared lets publishing wait for the topology. It is declared on one
// connection only: declaring a quorum queue on two at once can take seconds.
func (g *gateway) awaitDeclared(*broker.Topology) error {
	ctx, cancel := context.WithTimeout(context.Background(), declareTimeout)
	defer cancel()
	return g.consume.Do(ctx, func(*broker.Topology) error { return nil })
}

// run serves until ctx ends. Then calls end first, and with them what submits by
// itself; what both need ends after them: what is published is told of and forgotten.
func (g *gateway) run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	submitting, stopSubmitting := context.WithCancel(background)
	defer stopSubmitting()
	below := runAll(background,
		g.publish.Run, g.consume.Run, g.status.Run, g.registry.Run, g.control.Run, g.health.Run,
		g.types.Run, g.starts.Run, g.depth.Run, g.topology.Run,
		retention.NewSweeper(g.store, g.cfg.Retention, g.ages, g.cfg.Logger).Run,
		func(ctx context.Context) { g.ops().Serve(ctx, g.metrics) },
	)
	measuring := runAll(background, g.measures...)
	submitters := runAll(submitting, g.later.Run, g.schedules.Run)
	g.cfg.Logger.Info("listening", "address", g.api.Addr().String())
	err := rpc.Serve(ctx, g.server, g.api, rpc.Shutdown{
		Unready: g.unready, Delay: g.cfg.ShutdownDelay, Stopping: func() {
			g.tasks.Stop()
			close(g.stopping)
			stopSubmitting()
		}, Grace: g.cfg.Grace,
	})
	stopSubmitting()
	submitters.Wait()
	cancel()
	below.Wait()
	measuring.Wait()
	return err
}

// runAll runs functions until ctx ends. What it returns waits for them.
func runAll(ctx context.Context, runs ...func(context.Context)) *sync.WaitGroup {
	var running sync.WaitGroup
	for _, run := range runs {
		running.Go(func() { run(ctx) })
	}
	return &running
}

// Package service puts the dead-letter service's process together.
package service

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/health"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/api"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
	"github.com/warrenmq/warren/services/deadletter/internal/intake"
	"github.com/warrenmq/warren/services/deadletter/internal/notify"
	"github.com/warrenmq/warren/services/deadletter/internal/reflected"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/retention"
	"github.com/warrenmq/warren/services/deadletter/internal/schema"
)

// maxMessageBytes bounds an answer: a dead letter of the largest message that
// RabbitMQ takes, with its history.
const maxMessageBytes = 32 << 20

// gatewayService is the health service name of the gateway that is asked.
const gatewayService = "warren.gateway"

// service is one dead-letter service process.
type service struct {
	cfg Config
	resources
	publish     *broker.Connection
	consume     *broker.Connection
	publisher   *broker.Publisher
	status      *broker.StatusWriter
	intake      *intake.Intake
	replayer    *replay.Replayer
	keeper      *groups.Keeper
	notifier    *notify.Notifier
	deadLetters *api.Service
	measured    *metrics
	sweeper     *retention.Sweeper
	server      *grpc.Server
	health      *health.Health
	// stopping is closed when what would go on for ever is to end.
	stopping chan struct{}
}

// newService puts a service together; nothing runs yet.
func newService(cfg Config, r resources) (*service, error) {
	s := &service{cfg: cfg, resources: r, stopping: make(chan struct{})}
	names, hub := cfg.Broker.Names(), api.NewHub()
	tasks, admin := taskv1.NewTaskServiceClient(r.gateway), adminv1.NewAdminServiceClient(r.gateway)
	types, schemas := api.NewTypeCache(admin), schema.New(admin)
	s.measured = newMetrics(cfg.MeterProvider, r.store, func(ctx context.Context, taskType string) bool { return types.Input(ctx, taskType) != "" })
	changed := func() {
		hub.Wake()
		s.replayer.Wake()
	}
	kept := signalStore{r.store, changed, s.measured}
	s.consume = broker.NewConnection(cfg.Broker, "consume", nil)
	s.publish = broker.NewConnection(cfg.Broker, "publish", (*broker.Topology).CheckShared)
	s.publisher = broker.NewPublisher(s.publish)
	s.status = broker.NewStatusWriter(s.publisher)
	s.notifier = notify.New(kept, r.told.channels, cfg.MeterProvider, cfg.Logger)
	s.intake = intake.New(intake.Config{
		Store: kept, Status: s.status, Tasks: tasks, Claims: admin, Notify: r.told.matches, Notified: s.notifier.Wake, Logger: cfg.Logger,
	})
	s.consume.Subscribe(s.intake.Subscription(names))
	s.replayer = replay.New(replay.Config{
		Names: names, Store: kept, Publisher: s.publisher, Status: s.status, Tasks: tasks, Claims: admin, Notify: r.told.matches,
		Workers: admin, Checker: schemas, TracerProvider: otel.GetTracerProvider(), Logger: cfg.Logger,
	})
	s.keeper = groups.NewKeeper(kept, cfg.Logger)
	s.sweeper = retention.New(kept, cfg.Logger)
	s.deadLetters = api.NewService(api.Config{
		Store: kept, Replayer: s.replayer, Types: types, Schemas: schemas, Hub: hub, Info: s.serverInfo().Info, Logger: cfg.Logger,
		Notifier: s.notifier, BuiltIn: r.told.builtIn,
	})
	return s, s.newServer()
}

// longCalls are those that go on until their callers' deadline.
var longCalls = []string{
	deadletterv1.DeadLetterService_ReplayDeadLetters_FullMethodName,
	deadletterv1.DeadLetterService_DiscardDeadLetters_FullMethodName,
	deadletterv1.DeadLetterService_RestoreDeadLetters_FullMethodName,
	deadletterv1.DeadLetterService_PurgeDeadLetters_FullMethodName,
	deadletterv1.DeadLetterService_HoldDeadLetters_FullMethodName,
}

func (s *service) newServer() (err error) {
	s.server, err = rpc.NewServer(rpc.ServerConfig{
		Logger: s.cfg.Logger, MaxMessageBytes: maxMessageBytes,
		LongCalls: longCalls, Stopping: s.stopping, MeterProvider: s.cfg.MeterProvider,
	})
	if err != nil {
		return fmt.Errorf("make the gRPC server: %w", err)
	}
	deadletterv1.RegisterDeadLetterServiceServer(s.server, s.deadLetters)
	s.health = health.New(s.cfg.Logger, "dead-letter service",
		health.Check{Service: deadletterv1.DeadLetterService_ServiceDesc.ServiceName, Works: s.brokerWorks},
		health.Check{Service: health.Store, Works: s.store.Check},
		health.Check{Service: gatewayService, Works: func(ctx context.Context) error { return gatewayWorks(ctx, s.gateway) }},
	)
	s.health.Register(s.server)
	reflected.Register(s.server, s.gateway)
	return nil
}

// brokerWorks says whether dead letters can come in and status events go out.
func (s *service) brokerWorks(ctx context.Context) error {
	if err := s.consume.Do(ctx, (*broker.Topology).CheckDead); err != nil {
		return err
	}
	return s.publisher.Probe(ctx)
}

// run serves until ctx ends. Then calls end first, and what they need after
// them.
func (s *service) run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	runs := []func(context.Context){
		s.storeMetrics.Run, s.measured.Run, newReplayMetrics(s.cfg.MeterProvider, s.store).Run, s.publish.Run, s.consume.Run,
		s.status.Run, s.intake.Run, s.replayer.Run, s.keeper.Run, s.sweeper.Run, s.notifier.Run, s.health.Run,
		func(ctx context.Context) { s.ops().Serve(ctx, s.metrics) },
	}
	var below errgroup.Group
	for _, run := range runs {
		below.Go(func() error {
			run(background)
			return nil
		})
	}
	s.cfg.Logger.Info("listening", "address", s.api.Addr().String())
	err := rpc.Serve(ctx, s.server, s.api, rpc.Shutdown{
		Unready: s.unready, Delay: s.cfg.ShutdownDelay, Stopping: func() {
			s.deadLetters.Stop()
			close(s.stopping)
		}, Grace: s.cfg.Grace,
	})
	cancel()
	_ = below.Wait()
	return err
}

// Package service is the forwarding worker: it learns what a target offers, and
// carries out tasks there while the target can be called.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/health"
	"github.com/warrenmq/warren/pkg/worker"
	"github.com/warrenmq/warren/services/worker/internal/discovery"
	"github.com/warrenmq/warren/services/worker/internal/forward"
	"github.com/warrenmq/warren/services/worker/internal/target"
)

// Config configures a forwarding worker.
type Config struct {
	// Broker says which RabbitMQ to use; its Logger is not used.
	Broker broker.Config
	// Target says which servers carry out the tasks. Its Metadata is made from
	// MetadataFile, and Insecure goes for it too.
	Target target.Config
	// MetadataFile is as [target.ReadMetadata] has it; empty is none.
	MetadataFile string
	// DescriptorsFile is as [discovery.Descriptors] has it; empty asks the target.
	DescriptorsFile string
	// Services are the full names of those to forward; none is all.
	Services []string
	// Concurrency, Prefetch and Grace are as [worker.Config] has them.
	Concurrency, Prefetch int
	Grace                 time.Duration
	// MetricsListen is the address for health and metrics over HTTP; empty is nowhere.
	MetricsListen string
	// Metrics is served there as /metrics; nil is not.
	Metrics http.Handler
	// Profiling serves Go's profiles there.
	Profiling bool
	// Insecure allows MetricsListen beyond this machine, and metadata without TLS to
	// targets beyond it.
	Insecure bool
	Version  string
	Logger   *slog.Logger
}

// Run works until ctx ends, or a gateway asks for it, and then drains. What is wrong with the configuration,
// or with a port, is an error at once; what it needs and is not there yet is waited
// for. [worker.ErrStuck] asks for a new process.
func Run(ctx context.Context, cfg Config) error {
	s := &service{cfg: cfg}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

// service is a forwarding worker that runs.
type service struct {
	cfg     Config
	target  *target.Target
	watcher *watcher
	health  *health.Health
	broker  *broker.Connection
	// metrics is nil if health is not served over HTTP.
	metrics net.Listener
}

func (s *service) open(ctx context.Context) (err error) {
	if err := s.cfg.Broker.Validate(); err != nil {
		return fmt.Errorf("configure the broker: %w", err)
	}
	if s.cfg.Concurrency < 1 || s.cfg.Prefetch < 0 {
		return errors.New("--concurrency must be at least 1, and --prefetch not negative")
	}
	s.cfg.Target.Insecure = s.cfg.Insecure
	if s.cfg.MetadataFile != "" {
		if s.cfg.Target.Metadata, err = target.ReadMetadata(s.cfg.MetadataFile, s.cfg.Logger); err != nil {
			return err
		}
	}
	if s.target, err = target.Dial(s.cfg.Target); err != nil {
		return err
	}
	source, err := s.source(ctx)
	if err != nil {
		return err
	}
	s.watcher = newWatcher(s.target, source, s.cfg.Logger)
	return s.openHealth(ctx)
}

// source says where services are learned from. A file must be right from the
// beginning.
func (s *service) source(ctx context.Context) (discovery.Source, error) {
	if s.cfg.DescriptorsFile == "" {
		return discovery.NewReflection(s.target, s.cfg.Services), nil
	}
	file := discovery.NewDescriptors(s.cfg.DescriptorsFile, s.cfg.Services)
	if _, err := file.Learn(ctx); err != nil {
		return nil, err
	}
	return file, nil
}

func (s *service) close() {
	if s.metrics != nil {
		s.metrics.Close()
	}
	if s.target != nil {
		_ = s.target.Close()
	}
}

// run owns all goroutines. The target stays watched while the last tasks end.
func (s *service) run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	runs := []func(context.Context){s.target.Watch, s.watcher.run}
	if s.metrics != nil {
		runs = append(runs, s.broker.Run, s.health.Run, func(ctx context.Context) { s.ops().Serve(ctx, s.metrics) })
	}
	var below errgroup.Group
	for _, run := range runs {
		below.Go(func() error {
			run(background)
			return nil
		})
	}
	defer context.AfterFunc(ctx, s.health.Shutdown)()
	g := &generations{make: s.newWorker, log: s.cfg.Logger}
	err := g.run(ctx, s.watcher.views)
	cancel()
	_ = below.Wait()
	return err
}

// newWorker makes a worker for what the target offers.
func (s *service) newWorker(schema *discovery.Schema) (runner, error) {
	w, err := worker.New(worker.Config{
		AMQPURLs: s.cfg.Broker.URLs, Namespace: s.cfg.Broker.Namespace,
		Concurrency: s.cfg.Concurrency, Prefetch: s.cfg.Prefetch, Grace: s.cfg.Grace,
		Version: s.cfg.Version, Descriptors: schema.Files, Logger: s.cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("make the worker: %w", err)
	}
	f := &forward.Forwarder{Target: s.target, Logger: s.cfg.Logger}
	f.Register(w, schema)
	return w, nil
}

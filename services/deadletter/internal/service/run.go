package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/notify"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Config configures a dead-letter service. Nothing in it has a default but what
// can be empty.
type Config struct {
	Broker broker.Config
	// Listen is the address of the gRPC API.
	Listen string
	// MetricsListen is the address for health and metrics over HTTP; empty is nowhere.
	MetricsListen string
	// Metrics is served there as /metrics; nil is not.
	Metrics http.Handler
	// Profiling serves Go's profiles there.
	Profiling bool
	// Insecure allows addresses beyond this machine.
	Insecure bool
	// StoreURL is as pkg/sqldb has it.
	StoreURL string
	// Gateway is a gRPC target.
	Gateway string
	// Webhook is where new dead letters are told.
	Webhook WebhookConfig
	// Notify are further channels, each NAME=FILE; the file holds a URL as
	// [notify.NewChannel] takes it.
	Notify []string
	// ShutdownDelay is how long new calls are taken after readiness has dropped.
	ShutdownDelay time.Duration
	// Grace is for calls under way when the service stops.
	Grace  time.Duration
	Logger *slog.Logger
	// MeterProvider is where all of it is measured; nil is otel's global one.
	MeterProvider metric.MeterProvider
}

// WebhookConfig says who is told of which dead letters.
type WebhookConfig struct {
	// URL is where; empty is nowhere.
	URL string
	// SecretFile has the secret that signs.
	SecretFile string
	// Types and Codes are as [notify.ParseRules] has them.
	Types, Codes []string
}

// Run runs a dead-letter service until ctx ends. What is wrong with its
// configuration, or with a port, is an error at once; what it needs and is not
// there yet is waited for.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Broker.MeterProvider == nil {
		cfg.Broker.MeterProvider = cfg.MeterProvider
	}
	if err := cfg.Broker.Validate(); err != nil {
		return fmt.Errorf("configure the broker: %w", err)
	}
	r := resources{}
	defer r.close()
	if err := r.open(ctx, cfg); err != nil {
		return err
	}
	s, err := newService(cfg, r)
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// open makes the webhook, nil for none, and the rules of what it is told.
func (c *WebhookConfig) open(insecure bool) (*notify.Webhook, notify.Rules, error) {
	rules, err := notify.ParseRules(c.Types, c.Codes)
	if err != nil {
		return nil, rules, fmt.Errorf("--webhook-type, --webhook-code: %w", err)
	}
	if c.URL == "" {
		if c.SecretFile != "" || len(c.Types)+len(c.Codes) > 0 {
			return nil, rules, errors.New("--webhook-secret-file, --webhook-type and --webhook-code need --webhook-url")
		}
		return nil, rules, nil
	}
	if c.SecretFile == "" {
		return nil, rules, errors.New("--webhook-url needs --webhook-secret-file")
	}
	secret, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return nil, rules, fmt.Errorf("--webhook-secret-file: %w", err)
	}
	w, err := notify.NewWebhook(c.URL, string(secret), insecure)
	if err != nil {
		return nil, rules, fmt.Errorf("--webhook-url, --webhook-secret-file: %w", err)
	}
	return w, rules, nil
}

// resources are what a service holds of its machine.
type resources struct {
	store        store.Store
	storeMetrics *sqldb.Metrics
	api          net.Listener
	// metrics is nil if health is not served over HTTP.
	metrics net.Listener
	gateway *grpc.ClientConn
	told    told
}

func (r *resources) open(ctx context.Context, cfg Config) (err error) {
	if r.told, err = openChannels(&cfg); err != nil {
		return err
	}
	if r.gateway, err = dialGateway(cfg.Gateway); err != nil {
		return err
	}
	if r.api, err = rpc.Listen(ctx, "listen", cfg.Listen, cfg.Insecure); err != nil {
		return err
	}
	if cfg.MetricsListen != "" {
		if r.metrics, err = rpc.Listen(ctx, "metrics-listen", cfg.MetricsListen, cfg.Insecure); err != nil {
			return err
		}
	}
	r.storeMetrics = sqldb.NewMetrics(cfg.MeterProvider, "deadletter", cfg.StoreURL, storeProblem)
	r.store, err = openStore(ctx, cfg.StoreURL, r.storeMetrics, cfg.Logger)
	return err
}

// close closes what is open. Servers have closed their listeners already, and
// everything in the store is committed.
func (r *resources) close() {
	for _, l := range []net.Listener{r.api, r.metrics} {
		if l != nil {
			l.Close()
		}
	}
	if r.gateway != nil {
		_ = r.gateway.Close()
	}
	if r.store != nil {
		_ = r.store.Close()
	}
}

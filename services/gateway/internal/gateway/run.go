package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// MaxPayloadLimit is the largest limit that leaves room in RabbitMQ's message
// size for what travels with a payload or result.
const MaxPayloadLimit = 12 << 20

// Config configures a gateway. Nothing in it has a default but what can be
// empty.
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
	// ManagementURL is RabbitMQ's management API; empty is none.
	ManagementURL string
	// StoreURL is as pkg/sqldb has it.
	StoreURL string
	// MaxPayloadBytes bounds a payload, result or stream message.
	MaxPayloadBytes int
	// Retention is how long tasks that ended well are kept.
	Retention time.Duration
	// ShutdownDelay is how long new calls are taken after readiness has dropped.
	ShutdownDelay time.Duration
	// Grace is for calls under way when the gateway stops.
	Grace  time.Duration
	Logger *slog.Logger
}

// Run runs a gateway until ctx ends. What is wrong with its configuration, or
// with a port, is an error at once; what it needs and is not there yet is waited
// for.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	r := resources{}
	defer r.close()
	if err := r.open(ctx, cfg); err != nil {
		return err
	}
	g, err := newGateway(cfg, r)
	if err != nil {
		return err
	}
	return g.run(ctx)
}

func (c *Config) validate() error {
	if n := c.MaxPayloadBytes; n < 1 || n > MaxPayloadLimit {
		return fmt.Errorf("--max-payload-bytes %d: must be from 1 to %d (12 MiB)", n, MaxPayloadLimit)
	}
	if err := c.Broker.Validate(); err != nil {
		return fmt.Errorf("configure the broker: %w", err)
	}
	return nil
}

// resources are what a gateway holds of its machine.
type resources struct {
	store store.Store
	api   net.Listener
	// metrics is nil if health is not served over HTTP.
	metrics net.Listener
}

func (r *resources) open(ctx context.Context, cfg Config) (err error) {
	if r.api, err = rpc.Listen(ctx, "listen", cfg.Listen, cfg.Insecure); err != nil {
		return err
	}
	if cfg.MetricsListen != "" {
		if r.metrics, err = rpc.Listen(ctx, "metrics-listen", cfg.MetricsListen, cfg.Insecure); err != nil {
			return err
		}
	}
	r.store, err = openStore(ctx, cfg.StoreURL, cfg.Logger)
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
	if r.store != nil {
		_ = r.store.Close()
	}
}

package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	_ "google.golang.org/grpc/encoding/gzip" // for servers that compress what they answer
	_ "google.golang.org/grpc/health"        // has the channel ask for the servers' health
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// How a lost server is noticed and found again.
const (
	baseDelay      = 100 * time.Millisecond
	maxDelay       = 2 * time.Second
	connectTimeout = 5 * time.Second
	// pingPeriod is over the five minutes within which gRPC's servers take a
	// second ping for an abuse and hang up.
	pingPeriod = 6 * time.Minute
	// silence is how long sent data may stay unacknowledged.
	silence = 20 * time.Second
	// askTimeout bounds the question why the target can't be used.
	askTimeout = time.Second
)

// Config says which servers to call, and how.
type Config struct {
	// Names are gRPC target names: a single one in any of gRPC's forms, or
	// several HOST:PORT, among which calls are balanced.
	Names []string
	TLS   TLS
	// Metadata goes out with every call; nil is none. It may be a secret: without TLS
	// every target must then be on this machine.
	Metadata *Metadata
	// Insecure lets Metadata go to other machines without TLS.
	Insecure bool
	// HealthService is the name by which servers are asked for their health;
	// empty is the server as a whole.
	HealthService string
	// UserAgent is how this process calls itself.
	UserAgent string
}

// Target is the connection to the servers. It is safe for concurrent use.
type Target struct {
	*grpc.ClientConn

	name        string
	metadata    *Metadata
	connections atomic.Int64
	changed     chan struct{}
}

// Dial makes a connection, which is opened by [Target.Watch]. Errors: what is
// wrong with the configuration.
func Dial(cfg Config) (*Target, error) {
	name, fixed, err := endpoints(cfg.Names)
	if err != nil {
		return nil, err
	}
	if err := cfg.checkMetadata(); err != nil {
		return nil, err
	}
	secured, err := cfg.TLS.credentials()
	if err != nil {
		return nil, err
	}
	t := &Target{name: strings.Join(cfg.Names, ", "), metadata: cfg.Metadata, changed: make(chan struct{}, 1)}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(secured),
		grpc.WithStatsHandler(telemetry.ClientHandler(otelgrpc.WithFilter(filters.Not(filters.ServicePrefix("grpc."))))),
		grpc.WithStatsHandler(&departures{connected: t.noteConnection}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(serviceConfig(cfg.HealthService)),
		// Attempts are the task's, not the channel's.
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(connectParams()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingPeriod, Timeout: silence}),
		grpc.WithUserAgent(cfg.UserAgent),
	}
	if fixed != nil {
		options = append(options, grpc.WithResolvers(fixed))
	}
	if cfg.Metadata != nil {
		options = append(options, grpc.WithPerRPCCredentials(cfg.Metadata))
	}
	if t.ClientConn, err = grpc.NewClient(name, options...); err != nil {
		return nil, fmt.Errorf("--target %s: %w", t.name, err)
	}
	return t, nil
}

func connectParams() grpc.ConnectParams {
	again := backoff.DefaultConfig
	again.BaseDelay, again.MaxDelay = baseDelay, maxDelay
	return grpc.ConnectParams{Backoff: again, MinConnectTimeout: connectTimeout}
}

// serviceConfig balances over all servers that are SERVING. One that does not
// tell its health counts as SERVING.
func serviceConfig(healthService string) string {
	config, err := json.Marshal(map[string]any{
		"loadBalancingConfig": []any{map[string]any{"round_robin": map[string]any{}}},
		"healthCheckConfig":   map[string]any{"serviceName": healthService},
	})
	if err != nil {
		panic("target: a map of strings can't be encoded: " + err.Error())
	}
	return string(config)
}

// Name is what the target is called, for people.
func (t *Target) Name() string { return t.name }

// Sets says whether the target's own metadata has this key, in lower case: then
// no caller's may go out under it.
func (t *Target) Sets(key string) bool { return t.metadata != nil && t.metadata.has(key) }

// Ready says whether a server can be called.
func (t *Target) Ready() bool { return t.GetState() == connectivity.Ready }

// Connections counts the connections that were ever made.
func (t *Target) Connections() int64 { return t.connections.Load() }

// Changed has something to read when [Target.Ready] or [Target.Connections] may
// have changed. It is for one reader.
func (t *Target) Changed() <-chan struct{} { return t.changed }

// Recheck has Changed's reader look at once.
func (t *Target) Recheck() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *Target) noteConnection() {
	t.connections.Add(1)
	t.Recheck()
}

// Watch opens the connection, keeps it open and signals its changes until ctx
// ends.
func (t *Target) Watch(ctx context.Context) {
	for {
		t.Connect()
		// Signalled after it is taken, so that the reader sees this state or a later
		// one, which is signalled in turn.
		state := t.GetState()
		t.Recheck()
		if !t.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// Settle waits until the target can be called, or is known to be out of reach, or
// ctx ends.
func (t *Target) Settle(ctx context.Context) {
	for {
		state := t.GetState()
		if state != connectivity.Idle && state != connectivity.Connecting || !t.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// UntilUnready gives a context that ends when the target can't be called any more.
func (t *Target) UntilUnready(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if t.WaitForStateChange(ctx, connectivity.Ready) {
			cancel(ErrUnreachable)
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// Why the target can't be called.
var (
	// ErrConnecting: it is not known yet whether it can.
	ErrConnecting = errors.New("the target is being connected to")
	// ErrUnreachable: no server can be reached that says that it is SERVING.
	ErrUnreachable = errors.New("the target can't be reached, or is not SERVING")
)

// Trouble says why the target can't be called, nil if it can: it wraps
// [ErrConnecting] or [ErrUnreachable]. It waits at most a second.
func (t *Target) Trouble(ctx context.Context) error {
	switch t.GetState() {
	case connectivity.Ready:
		return nil
	case connectivity.TransientFailure:
	case connectivity.Idle, connectivity.Connecting, connectivity.Shutdown:
		return fmt.Errorf("%w: %s", ErrConnecting, t.name)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// It fails before it is sent, with what the connection's trouble is.
	_, err := grpc_health_v1.NewHealthClient(t).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil || t.Ready() {
		return nil
	}
	return fmt.Errorf("%w: %s: %s", ErrUnreachable, t.name, status.Convert(err).Message())
}

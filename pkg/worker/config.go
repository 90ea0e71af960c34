package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/warrenmq/warren/pkg/broker"
)

// Defaults of [Config].
const (
	DefaultConcurrency = 16
	DefaultGrace       = 30 * time.Second
	DefaultMaxStuck    = 4
)

// Config configures a worker. The zero value works with a broker on this
// machine.
type Config struct {
	// AMQPURLs are the addresses of RabbitMQ's nodes, tried in turn. Default
	// amqp://guest:guest@127.0.0.1:5672/.
	AMQPURLs []string
	// Namespace is the installation's, see the gateway's --namespace. Default
	// "warren".
	Namespace string
	// Concurrency is how many tasks of each type run at once, unless operators have
	// set another number. Default 16.
	Concurrency int
	// Prefetch is how many more of each type are fetched while these run; in
	// proportion, at least 1, when operators change their number. Default a quarter
	// of Concurrency, at least 1.
	Prefetch int
	// Grace is how long running handlers may go on once the worker is to stop,
	// before their contexts are cancelled and their tasks given back. Default
	// 30 s; negative is none.
	Grace time.Duration
	// MaxStuck is with how many handlers that ignore the end of their contexts for
	// 30 s after their timeout the worker drains and Run returns [ErrStuck], so
	// that the process is started again. Default 4; negative is never.
	MaxStuck int
	// Version is reported with each attempt. Default the main module's version.
	Version string
	// Descriptors are an encoded google.protobuf.FileDescriptorProto of every file
	// that the registered services need, imports first; they are announced as they
	// are. Default those that are linked into the program.
	Descriptors [][]byte
	// Logger is where the worker reports. Default slog's default.
	Logger *slog.Logger
	// TracerProvider makes the spans of attempts. Default otel's global one.
	TracerProvider trace.TracerProvider
	// MeterProvider makes the worker's metrics: `messaging.process.duration` and
	// `warren.worker.*`, by task type. Default otel's global one.
	MeterProvider metric.MeterProvider
	// UnaryInterceptors and StreamInterceptors wrap the handlers, the first one
	// outermost.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor
}

// withDefaults fills in defaults and says what is wrong.
func (c Config) withDefaults() (Config, error) {
	if c.Concurrency < 0 || c.Prefetch < 0 {
		return c, errors.New("concurrency and prefetch can't be negative")
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Prefetch == 0 {
		c.Prefetch = max(c.Concurrency/4, 1)
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.MaxStuck == 0 {
		c.MaxStuck = DefaultMaxStuck
	}
	if c.Version == "" {
		c.Version = mainVersion()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	return c, nil
}

func mainVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func (c Config) broker(workerID string) (broker.Config, error) {
	b := broker.Config{URLs: c.AMQPURLs, Namespace: c.Namespace, Name: "warren worker " + workerID, Logger: c.Logger, MeterProvider: c.MeterProvider}
	if err := b.Validate(); err != nil {
		return b, fmt.Errorf("configure the worker: %w", err)
	}
	return b, nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

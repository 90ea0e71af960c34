// Gateway is Warren's public gRPC API: it submits tasks to RabbitMQ, keeps
// their status in its store, and answers who asks for it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/gateway"
)

// flags are the gateway's.
type flags struct {
	cli.Broker
	cli.Log
	cli.Version

	Listen          string        `help:"Address of the gRPC API." default:"127.0.0.1:7070" placeholder:"ADDR"`
	MetricsListen   string        `help:"Address for /healthz, /readyz and /metrics over HTTP; empty is nowhere. OTEL_METRICS_EXPORTER=none or OTEL_SDK_DISABLED=true: no metrics." default:"127.0.0.1:9070" placeholder:"ADDR"`
	Pprof           bool          `help:"Serve Go's profiles at --metrics-listen as /debug/pprof/; they show what is in memory."`
	Insecure        bool          `help:"Allow addresses beyond this machine, without TLS or authentication."`
	StoreURL        string        `name:"store-url" help:"The gateway's store." default:"sqlite:warren-gateway.db" placeholder:"sqlite:FILE"`
	ManagementURL   string        `name:"management-url" help:"RabbitMQ's management API, to check the topology with; empty is none." placeholder:"http://USER:PASSWORD@HOST:15672"`
	MaxPayloadBytes int           `help:"Largest payload, result and stream message; at most 12 MiB." default:"4194304"`
	Retention       time.Duration `help:"How long tasks that SUCCEEDED or were CANCELLED are kept." default:"168h"`
	ShutdownDelay   time.Duration `help:"How long new calls are still taken after readiness has dropped, for load balancers to see that." default:"0s"`
	Grace           time.Duration `help:"How long calls under way may go on when the gateway stops." default:"30s"`
}

func main() {
	cli.CollectLess()
	var f flags
	if _, err := cli.Parse(&f, "gateway", "Warren's gateway: durable gRPC on RabbitMQ.", buildinfo.Read().String(), os.Args[1:]); err != nil {
		cli.Fail("gateway", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := f.run(ctx); err != nil {
		cli.Fail("gateway", err)
	}
}

func (f *flags) run(ctx context.Context) error {
	log := f.Logger(os.Stderr)
	scrape := telemetry.Scrape{Off: f.MetricsListen == ""}
	flush, err := telemetry.Start(ctx, "warren-gateway", buildinfo.Version(), log, telemetry.WithScrape(&scrape))
	if err != nil {
		return err
	}
	defer telemetry.Flush(flush, log)
	return gateway.Run(ctx, gateway.Config{
		Broker:        broker.Config{URLs: f.AMQPURL, Namespace: f.Namespace, Name: "warren gateway", Logger: log},
		ManagementURL: f.ManagementURL, Listen: f.Listen, MetricsListen: f.MetricsListen, Insecure: f.Insecure, StoreURL: f.StoreURL,
		Metrics: scrape.Handler(), Profiling: f.Pprof, ShutdownDelay: f.ShutdownDelay,
		MaxPayloadBytes: f.MaxPayloadBytes, Retention: f.Retention, Grace: f.Grace, Logger: log,
	})
}

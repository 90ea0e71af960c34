// Deadletter takes in every task that was given up, shows why, and replays it.
package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/notify"
	"github.com/warrenmq/warren/services/deadletter/internal/service"
)

// flags are the dead-letter service's.
type flags struct {
	cli.Broker
	cli.Log
	cli.Version

	Listen            string        `help:"Address of the gRPC API." default:"127.0.0.1:7071" placeholder:"ADDR"`
	MetricsListen     string        `help:"Address for /healthz, /readyz and /metrics over HTTP; empty is nowhere. OTEL_METRICS_EXPORTER=none or OTEL_SDK_DISABLED=true: no metrics." default:"127.0.0.1:9071" placeholder:"ADDR"`
	Pprof             bool          `help:"Serve Go's profiles at --metrics-listen as /debug/pprof/; they show what is in memory."`
	Insecure          bool          `help:"Allow addresses beyond this machine, without TLS or authentication."`
	StoreURL          string        `name:"store-url" help:"The dead-letter service's store." default:"sqlite:warren-deadletter.db" placeholder:"sqlite:FILE"`
	Gateway           string        `help:"gRPC target of a gateway." default:"127.0.0.1:7070" placeholder:"TARGET"`
	WebhookURL        string        `name:"webhook-url" help:"Where new dead letters are told, signed as Standard Webhooks say; empty is nowhere." placeholder:"URL"`
	WebhookSecretFile string        `help:"File with the secret that signs: whsec_ and 24 to 64 bytes in base64." placeholder:"FILE"`
	WebhookType       []string      `help:"Tell dead letters of task types like this, e.g. acme.v1.*; repeatable. Without any type or code all are told." sep:" " placeholder:"PATTERN"`
	WebhookCode       []string      `help:"Tell dead letters with this status code too, e.g. UNAVAILABLE; repeatable." sep:" " placeholder:"CODE"`
	Notify            []string      `help:"Another channel of notifications, for e-mail, chat or on-call: a name and a file with a shoutrrr URL, such as smtp://USER:PASSWORD@HOST:587/?from=A&to=B; repeatable." sep:"none" placeholder:"NAME=FILE"`
	ShutdownDelay     time.Duration `help:"How long new calls are still taken after readiness has dropped, for load balancers to see that." default:"0s"`
	Grace             time.Duration `help:"How long calls under way may go on when the service stops." default:"30s"`
}

func main() {
	cli.CollectLess()
	var f flags
	if _, err := cli.Parse(&f, "deadletter", "Warren's dead-letter service: understand what failed, and replay it.", buildinfo.Read().String(), os.Args[1:]); err != nil {
		cli.Fail("deadletter", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := f.run(ctx); err != nil {
		cli.Fail("deadletter", err)
	}
}

func (f *flags) run(ctx context.Context) error {
	// Chats are sent with it, by a library that takes neither a client nor a context.
	http.DefaultClient.Timeout = notify.SendTimeout
	log := f.Logger(os.Stderr)
	scrape := telemetry.Scrape{Off: f.MetricsListen == ""}
	flush, err := telemetry.Start(ctx, "warren-deadletter", buildinfo.Version(), log, telemetry.WithScrape(&scrape))
	if err != nil {
		return err
	}
	defer telemetry.Flush(flush, log)
	return service.Run(ctx, service.Config{
		Broker: broker.Config{URLs: f.AMQPURL, Namespace: f.Namespace, Name: "warren deadletter", Logger: log},
		Listen: f.Listen, MetricsListen: f.MetricsListen, Insecure: f.Insecure, StoreURL: f.StoreURL, Gateway: f.Gateway,
		Webhook: service.WebhookConfig{URL: f.WebhookURL, SecretFile: f.WebhookSecretFile, Types: f.WebhookType, Codes: f.WebhookCode},
		Notify:  f.Notify,
		Metrics: scrape.Handler(), Profiling: f.Pprof, ShutdownDelay: f.ShutdownDelay,
		Grace: f.Grace, Logger: log,
	})
}

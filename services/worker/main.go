// Worker makes any gRPC server carry out tasks, in whatever language it is
// written: it learns the server's services and calls them for the tasks that it
// takes.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc/grpclog"

	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/worker/internal/service"
)

func main() {
	cli.CollectLess()
	var f flags
	if _, err := cli.Parse(&f, "worker", "Carries out tasks by calling a gRPC server, in any language.", buildinfo.Read().String(), os.Args[1:]); err != nil {
		cli.Fail("worker", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := f.run(ctx); err != nil {
		cli.Fail("worker", err)
	}
}

func (f *flags) run(ctx context.Context) error {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		// It calls it an error that a server has no health service.
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
	log := f.Logger(os.Stderr)
	scrape := telemetry.Scrape{Off: f.MetricsListen == ""}
	flush, err := telemetry.Start(ctx, "warren-worker", buildinfo.Version(), log, telemetry.WithScrape(&scrape))
	if err != nil {
		return err
	}
	defer telemetry.Flush(flush, log) //nolint:contextcheck // ctx has ended by then
	cfg := f.config(log)
	cfg.Metrics = scrape.Handler()
	return service.Run(ctx, cfg)
}

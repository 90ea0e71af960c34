//go:build unix

// The program playground gets a broker and runs Warren on it, out of the
// binaries of this repository: `demo` shows and checks what it does, `run`
// leaves it up to be tried. Nothing that it started outlives it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/warrenmq/warren/services/playground/internal/demo"
	"github.com/warrenmq/warren/services/playground/internal/platform"
	"github.com/warrenmq/warren/services/playground/internal/run"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

// The flags read few variables and ignore the others: a WARREN_ variable that
// is meant for one of Warren's own processes is no mistake here.
type flags struct {
	BinDir      string   `help:"Folder with Warren's binaries." default:"bin"`
	ComposeFile string   `help:"Docker Compose file with a service rabbitmq; empty never uses Docker." default:"docker-compose.yml"`
	AMQPURL     []string `name:"amqp-url" env:"WARREN_AMQP_URL" help:"A RabbitMQ that runs already; repeatable. Default: one is started." placeholder:"URL" sep:" "`

	Demo demoCommand `cmd:"" help:"Show what Warren does, check that it was right, and stop."`
	Run  runCommand  `cmd:"" help:"Leave Warren up until Ctrl-C."`
}

type demoCommand struct{}

// Run is called by kong.
func (demoCommand) Run(ctx context.Context, f *flags, out *show.Printer) error {
	if err := demo.Run(ctx, demo.Config{
		BinDir: f.BinDir, ComposeFile: f.ComposeFile, AMQPURLs: f.AMQPURL, Print: out,
	}); err != nil {
		return err
	}
	out.Title("All of it was right.")
	return nil
}

type runCommand struct {
	Listen                  string `env:"WARREN_LISTEN" help:"Address of the gateway." default:"127.0.0.1:7070"`
	MetricsListen           string `env:"WARREN_METRICS_LISTEN" help:"Address of the gateway's /healthz, /readyz and /metrics; empty is nowhere." default:"127.0.0.1:9070"`
	DeadletterListen        string `env:"WARREN_DEADLETTER_LISTEN" help:"Address of the dead-letter service." default:"127.0.0.1:7071"`
	DeadletterMetricsListen string `env:"WARREN_DEADLETTER_METRICS_LISTEN" help:"Address of the dead-letter service's /healthz, /readyz and /metrics; empty is nowhere." default:"127.0.0.1:9071"`
	DataDir                 string `help:"Folder for data that outlive a run, and for logs." default:".run"`
}

// Run is called by kong.
func (c runCommand) Run(ctx context.Context, f *flags, out *show.Printer) error {
	return run.Run(ctx, run.Config{
		BinDir: f.BinDir, ComposeFile: f.ComposeFile, AMQPURLs: f.AMQPURL,
		DataDir: c.DataDir, Print: out,
		Gateway:    platform.Addresses{Listen: c.Listen, MetricsListen: c.MetricsListen},
		Deadletter: platform.Addresses{Listen: c.DeadletterListen, MetricsListen: c.DeadletterMetricsListen},
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A second signal ends the process at once, and its children with it.
	context.AfterFunc(ctx, stop)
	var f flags
	command := kong.Parse(&f, kong.Name("playground"), kong.UsageOnError(),
		kong.Description("Runs Warren on this machine, to be seen and tried."))
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(&f, show.NewPrinter(os.Stdout)); err != nil {
		fmt.Fprintf(os.Stderr, "\nplayground %s: %v\n", command.Command(), err)
		os.Exit(1)
	}
}

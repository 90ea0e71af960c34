//go:build unix

// Package cmd is the benchmark's command line.
package cmd

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// The flags read the variables that they name and ignore others: one that is
// meant for a process of Warren's is no mistake here.
type flags struct {
	AMQPURL   string `name:"amqp-url" env:"WARREN_AMQP_URL" help:"A RabbitMQ that runs already: its CPU time is not measured, and what was declared there stays. Default: one is started." placeholder:"URL"`
	Namespace string `env:"WARREN_NAMESPACE" help:"Prefix of the names of all exchanges and queues. Default: one of its own." placeholder:"NAME"`
	BinDir    string `help:"Folder with the binary gateway." default:"bin"`

	Run       runCommand       `cmd:"" default:"withargs" help:"Measure rates, latencies and CPU time (the default)."`
	Tune      tuneCommand      `cmd:"" help:"Measure what concurrency, prefetch and the share of retries come to."`
	Scheduled scheduledCommand `cmd:"" help:"Measure what many tasks cost that wait for their time."`
	Traces    tracesCommand    `cmd:"" help:"Measure what tracing costs: off, and with 1 % and 100 % of traces sampled."`
	Work      workCommand      `cmd:"" hidden:"" help:"Be the worker that is measured."`
	Serve     serveCommand     `cmd:"" hidden:"" help:"Be the server that durable calls are compared with."`
}

// streams are where the commands write.
type streams struct{ out, log io.Writer }

// note tells whoever waits what happens.
func (s streams) note(format string, args ...any) {
	_, _ = fmt.Fprintf(s.log, format+"\n", args...)
}

// Run runs the command that the arguments name.
func Run(ctx context.Context, args []string, out, log io.Writer) error {
	var f flags
	parser, err := kong.New(&f, kong.Name("bench"), kong.UsageOnError(),
		kong.Description("Measures Warren against the broker that it runs on."))
	if err != nil {
		return fmt.Errorf("describe the command line: %w", err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return err
	}
	command.BindTo(ctx, (*context.Context)(nil))
	return command.Run(&f, streams{out, log})
}

// Package cmd is the command line of the demo service.
package cmd

import (
	"context"
	"fmt"
	"io"

	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/pkg/telemetry"
)

type flags struct {
	cli.Log
	cli.Version

	Serve serveCommand `cmd:"" help:"Serve plain gRPC."`
	Work  workCommand  `cmd:"" help:"Carry out the service's methods as tasks, as a Warren worker."`
}

// Run runs the command that the arguments name until the context ends, logging
// to out.
func Run(ctx context.Context, args []string, out io.Writer) error {
	var f flags
	command, err := cli.Parse(&f, "demo", "A gRPC service to try Warren on.", buildinfo.Read().String(), args)
	if err != nil {
		return err
	}
	log := f.Logger(out)
	flush, err := telemetry.Start(ctx, "demo", buildinfo.Version(), log)
	if err != nil {
		return fmt.Errorf("start telemetry: %w", err)
	}
	defer telemetry.Flush(flush, log) //nolint:contextcheck // ctx has ended by then
	command.BindTo(ctx, (*context.Context)(nil))
	return command.Run(log)
}

// Demo is a user's own gRPC service, as an example: pictures, and failures on
// request. `demo serve` runs it as a plain gRPC server, `demo work` as a Warren
// worker.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/services/demo/internal/cmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := cmd.Run(ctx, os.Args[1:], os.Stderr); err != nil {
		cli.Fail("demo", err)
	}
}

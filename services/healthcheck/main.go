// Healthcheck asks a process for its health, for container images that have no
// shell: exit code 0 is healthy, 1 is not, and the output says why.
//
//	healthcheck http://127.0.0.1:9070/readyz
//	healthcheck 127.0.0.1:7075
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/warrenmq/warren/services/healthcheck/internal/probe"
)

// timeout is for the whole check; whoever runs it has a bound of their own.
const timeout = 4 * time.Second

func main() {
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: healthcheck URL|TARGET: an HTTP URL that answers 200, or a gRPC server with a health service")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "healthcheck:", err)
		os.Exit(1)
	}
}

func check(target string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return probe.Check(ctx, target)
}

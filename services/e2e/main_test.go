package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

var (
	seeds    = flag.Int("seeds", 10, "how many seeds the drill of the promises runs with")
	baseSeed = flag.Int64("seed", 1, "the first of them")
	keepLogs = flag.String("logs", "", "folder to keep the processes' logs in")
)

// gatewayBinary is the gateway under test, built by TestMain.
var gatewayBinary string

// TestMain builds the gateway. As a worker process it runs that instead: this
// binary has the handlers.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain())
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "warren-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	gatewayBinary = filepath.Join(dir, "gateway")
	if err := buildGateway(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)
	brokertest.Main(m)
}

func buildGateway() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-o", gatewayBinary, "../gateway").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the gateway: %w\n%s", err, out)
	}
	return nil
}

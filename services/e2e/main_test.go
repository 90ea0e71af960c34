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

// The binaries under test, built by TestMain.
var gatewayBinary, deadletterBinary string

// TestMain builds the services. As a worker process it runs that instead: this
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
	gatewayBinary, deadletterBinary = filepath.Join(dir, "gateway"), filepath.Join(dir, "deadletter")
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)
	brokertest.Main(m)
}

func build(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "../gateway", "../deadletter").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the services: %w\n%s", err, out)
	}
	return nil
}

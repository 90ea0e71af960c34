package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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
var gatewayBinary, deadletterBinary, forwarderBinary, demoBinary, healthcheckBinary string

// TestMain builds the services. As a worker process, or as a target of the
// forwarding worker, it runs that instead: this binary has the handlers.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain())
	}
	if os.Getenv(targetEnv) != "" {
		os.Exit(targetMain())
	}
	flag.Parse()
	removeLeftovers()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", folderPrefix, os.Getpid()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	gatewayBinary, deadletterBinary = filepath.Join(dir, "gateway"), filepath.Join(dir, "deadletter")
	forwarderBinary, demoBinary, healthcheckBinary = filepath.Join(dir, "worker"), filepath.Join(dir, "demo"), filepath.Join(dir, "healthcheck")
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	brokertest.Main(m)
}

// folderPrefix and its process's id begin the name of the folder with the binaries.
const folderPrefix = "warren-e2e-"

// removeLeftovers removes the folders of earlier runs: brokertest.Main does not
// return, and a run may be killed.
func removeLeftovers() {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*-*"))
	for _, folder := range folders {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(folder), folderPrefix+"%d-", &pid)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(folder)
		}
	}
}

func build(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "../gateway", "../deadletter", "../worker", "../demo", "../healthcheck").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the services: %w\n%s", err, out)
	}
	return nil
}

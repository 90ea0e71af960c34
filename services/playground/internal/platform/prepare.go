//go:build unix

package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

const (
	gatewayBinary    = "gateway"
	deadletterBinary = "deadletter"
	workerBinary     = "demo"
)

// CheckBinaries says what is missing in the folder, before anything is started.
func CheckBinaries(dir string) error {
	for _, name := range []string{gatewayBinary, deadletterBinary, workerBinary} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("the program %s is not there, `make build` builds it: %w", name, err)
		}
	}
	return nil
}

// removeLogs removes those of an earlier platform.
func (c Config) removeLogs() error {
	for _, name := range logs() {
		if err := os.Remove(filepath.Join(c.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old log: %w", err)
		}
	}
	return nil
}

// CheckListen says what is wrong with an address that a server is to listen on,
// before anything is started. The flag is the one that sets it.
func CheckListen(ctx context.Context, flag, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("nothing can listen on %s; choose another address with --%s: %w", address, flag, err)
	}
	if err := listener.Close(); err != nil {
		return fmt.Errorf("try to listen on %s: %w", address, err)
	}
	return nil
}

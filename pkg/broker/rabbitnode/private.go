//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// findPrivate returns the copy of RabbitMQ in its own Debian tree, and builds it first when there is none.
func findPrivate(ctx context.Context, log func(string, ...any)) (Install, error) {
	if err := privatePossible(); err != nil {
		return Install{}, err
	}
	dir, err := privateDir()
	if err != nil {
		return Install{}, err
	}
	if install, err := openPrivate(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return install, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return Install{}, fmt.Errorf("making room for RabbitMQ: %w", err)
	}
	lock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return Install{}, fmt.Errorf("waiting for another process that installs RabbitMQ: %w", err)
	}
	defer lock.Close()
	if install, err := openPrivate(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return install, err
	}
	log("RabbitMQ 4.3 is not on this machine: installing a copy into %s (about a minute and 400 MB, once)", dir)
	if err := buildPrivate(ctx, dir, lock); err != nil {
		return Install{}, fmt.Errorf("installing RabbitMQ into %s: %w", dir, err)
	}
	return openPrivate(dir)
}

func privatePossible() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("%w: a private copy needs Linux", ErrUnavailable)
	}
	for _, tool := range []string{"apt-get", "unshare", "chroot", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: a private copy needs Debian or Ubuntu, and %s is missing", ErrUnavailable, tool)
		}
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: installing and running a private copy needs root", ErrUnavailable)
	}
	return nil
}

func privateDir() (string, error) {
	if dir := os.Getenv("WARREN_RABBITMQ_DIR"); dir != "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("reading WARREN_RABBITMQ_DIR: %w", err)
		}
		return absolute, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder (set WARREN_RABBITMQ_DIR instead): %w", err)
	}
	return filepath.Join(cache, "warren", "rabbitmq-4.3"), nil
}

// openPrivate reports fs.ErrNotExist when nothing is installed in dir. What exists there is complete, for it was renamed
// into place.
func openPrivate(dir string) (Install, error) {
	if _, err := os.Stat(dir); err != nil {
		return Install{}, fmt.Errorf("looking for RabbitMQ: %w", err)
	}
	homes, _ := filepath.Glob(filepath.Join(dir, "usr", "lib", "rabbitmq", "lib", "rabbitmq_server-*"))
	home, v, ok := newestHome(homes)
	switch {
	case !ok:
		return Install{}, fmt.Errorf("%s exists but holds no RabbitMQ; remove it to have it installed again", dir)
	case !v.supported():
		return Install{}, fmt.Errorf("%s holds RabbitMQ %s, not 4.3.%d or a later 4.3", dir, v, oldestPatch)
	}
	return Install{Version: v.String(), home: strings.TrimPrefix(home, dir), root: dir}, nil
}

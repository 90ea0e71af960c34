//go:build unix

package run

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// openDir makes the folder if it is not there, and locks it: one platform at a
// time has its data. The lock is released by unlock, or by the process's end.
func openDir(path string) (dir string, unlock func(), err error) {
	if dir, err = filepath.Abs(path); err != nil {
		return "", nil, fmt.Errorf("find the folder %s: %w", path, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("make the folder %s: %w", dir, err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("lock the folder %s: %w", dir, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return "", nil, fmt.Errorf("the folder %s is in use by another run; stop it, or choose another folder with --data-dir", dir)
		}
		return "", nil, fmt.Errorf("lock the folder %s: %w", dir, err)
	}
	return dir, func() { _ = lock.Close() }, nil
}

// projectOf is a Docker Compose project that belongs to the folder alone.
func projectOf(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "warren-run-" + hex.EncodeToString(sum[:4])
}

//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	// debianSuite is the first Debian release that packages RabbitMQ 4.3.
	debianSuite    = "forky"
	debianPackages = "erlang-base,rabbitmq-server"
	// debootstrapScript builds any recent suite. It is named because a debootstrap older than the suite does not know it.
	debootstrapScript = "/usr/share/debootstrap/scripts/sid"
)

// buildPrivate makes a Debian tree with RabbitMQ beside dir and renames it to dir once it is whole. Its processes inherit
// the lock, which so outlives a killed parent until the last of them is gone.
func buildPrivate(ctx context.Context, dir string, lock *os.File) error {
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("removing an interrupted installation: %w", err)
	}
	if err := debootstrap(ctx, partial, lock); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	if err := finishTree(partial); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	if err := os.Rename(partial, dir); err != nil {
		return fmt.Errorf("putting the installation in place: %w", err)
	}
	return nil
}

func debootstrap(ctx context.Context, target string, lock *os.File) error {
	keyring, err := ensureDebootstrap(ctx, lock)
	if err != nil {
		return err
	}
	mirror, err := debianMirror(ctx, lock)
	if err != nil {
		return err
	}
	// The mounts that debootstrap makes in its target stay in a namespace that ends with it, so that removing an
	// interrupted target never reaches the machine's own /proc and /dev.
	_, err = runTool(ctx, lock, "unshare", "--mount", "--propagation", "private",
		"debootstrap", "--variant=minbase", "--include="+debianPackages,
		"--keyring="+keyring, "--force-check-gpg", debianSuite, target, mirror, debootstrapScript)
	return err
}

// ensureDebootstrap installs debootstrap and Debian's keyring (which Ubuntu lacks) when missing, and returns the keyring.
func ensureDebootstrap(ctx context.Context, lock *os.File) (keyring string, err error) {
	install := []string{"apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "debootstrap", "debian-archive-keyring"}
	if keyring, ok := haveDebootstrap(); ok {
		return keyring, nil
	}
	if _, err := runTool(ctx, lock, install...); err != nil {
		// The package lists may be absent or stale. Another source's failure to update is no reason to stop here.
		_, updateErr := runTool(ctx, lock, "apt-get", "update")
		if _, err := runTool(ctx, lock, install...); err != nil {
			return "", errors.Join(err, updateErr)
		}
	}
	if keyring, ok := haveDebootstrap(); ok {
		return keyring, nil
	}
	return "", errors.New("debootstrap or Debian's keyring is missing after apt-get installed them")
}

func haveDebootstrap() (keyring string, ok bool) {
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return "", false
	}
	for _, keyring := range []string{
		"/usr/share/keyrings/debian-archive-keyring.gpg",
		"/usr/share/keyrings/debian-archive-keyring.pgp",
	} {
		if _, err := os.Stat(keyring); err == nil {
			return keyring, true
		}
	}
	return "", false
}

// finishTree makes the tree fit to run nodes and drops the packages it was made of.
func finishTree(root string) error {
	// Node names end in @localhost, which must resolve without a name server.
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	if err := os.WriteFile(filepath.Join(root, "etc", "hosts"), []byte(hosts), 0o644); err != nil {
		return fmt.Errorf("naming localhost: %w", err)
	}
	archives, _ := filepath.Glob(filepath.Join(root, "var", "cache", "apt", "archives", "*.deb"))
	for _, archive := range archives {
		if err := os.Remove(archive); err != nil {
			return fmt.Errorf("removing a downloaded package: %w", err)
		}
	}
	if _, err := openPrivate(root); err != nil {
		return fmt.Errorf("checking what Debian's %q delivered: %w", debianSuite, err)
	}
	return nil
}

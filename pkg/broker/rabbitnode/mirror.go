//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// debianMirror returns the first Debian archive among this machine's own apt sources.
func debianMirror(ctx context.Context, lock *os.File) (string, error) {
	targets, err := aptTargets(ctx, lock)
	if err != nil {
		return "", err
	}
	mirror, ok := firstDebianArchive(targets)
	if !ok {
		// apt knows the origin of a source only once it has fetched that source's Release file.
		_, updateErr := runTool(ctx, lock, "apt-get", "update")
		if targets, err = aptTargets(ctx, lock); err != nil {
			return "", err
		}
		if mirror, ok = firstDebianArchive(targets); !ok {
			return "", errors.Join(fmt.Errorf("%w: none of apt's sources here is a Debian archive", ErrUnavailable), updateErr)
		}
	}
	return resolveMirror(mirror)
}

// aptTargets asks apt itself instead of reading its files, which come in two formats with options, includes and
// continuation lines.
func aptTargets(ctx context.Context, lock *os.File) (string, error) {
	return runTool(ctx, lock, "apt-get", "indextargets",
		"--format", "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)", "Created-By: Packages")
}

// firstDebianArchive reads lines of "URI|origin|label|component". The label tells the archive from Debian's security
// and backports archives.
func firstDebianArchive(targets string) (string, bool) {
	for line := range strings.Lines(targets) {
		field := strings.Split(strings.TrimSpace(line), "|")
		if len(field) == 4 && field[1] == "Debian" && field[2] == "Debian" && field[3] == "main" {
			return strings.TrimSuffix(field[0], "/"), true
		}
	}
	return "", false
}

// resolveMirror turns apt's "mirror+file:" sources, common in cloud images, into the first URI of the file, since
// debootstrap does not know them.
func resolveMirror(mirror string) (string, error) {
	u, err := url.Parse(mirror)
	if err != nil {
		return "", fmt.Errorf("reading the Debian mirror %q: %w", mirror, err)
	}
	if u.Scheme != "mirror+file" {
		return mirror, nil
	}
	list, err := os.ReadFile(u.Path)
	if err != nil {
		return "", fmt.Errorf("reading apt's list of mirrors: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		if field := strings.Fields(line); len(field) > 0 && !strings.HasPrefix(field[0], "#") {
			return strings.TrimSuffix(field[0], "/"), nil
		}
	}
	return "", fmt.Errorf("apt's list of mirrors %s is empty", u.Path)
}

//go:build unix

package rabbitnode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dataDir is the folder of one node:
//
//	name             the node's name, to which the data belong
//	lock             held while a Node uses the folder
//	home             HOME, with the Erlang cookie
//	data             what the broker stores
//	log              node.log, and console.log with what the node prints
//	rabbitmq.conf, advanced.config, enabled_plugins
type dataDir struct {
	path      string
	temporary bool
	lock      *os.File
}

// lockPatience bounds the wait for a folder whose former owner was killed a moment ago.
const lockPatience = 5 * time.Second

func openDataDir(ctx context.Context, path string) (*dataDir, error) {
	d := &dataDir{path: path, temporary: path == ""}
	if err := d.create(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience, errors.New("another process runs a node in this folder"))
	defer cancel()
	var err error
	if d.lock, err = lockFile(ctx, filepath.Join(d.path, "lock")); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *dataDir) create() (err error) {
	if d.temporary {
		d.path, err = os.MkdirTemp("", "warren-rabbitmq-")
	} else {
		d.path, err = filepath.Abs(d.path)
	}
	if err != nil {
		return fmt.Errorf("choosing a data folder: %w", err)
	}
	for _, sub := range []string{"home", "data", "log"} {
		if err := os.MkdirAll(filepath.Join(d.path, sub), 0o700); err != nil {
			return fmt.Errorf("making a data folder: %w", err)
		}
	}
	return nil
}

// settleName returns the wanted name, the folder's, or a new one, and records it. Data of another name cannot be used.
func (d *dataDir) settleName(wanted string) (string, error) {
	stored, err := d.read("name")
	switch {
	case err != nil:
		return "", err
	case wanted == "" && stored != "":
		return stored, nil
	case wanted == "":
		wanted = "warren-" + strings.ToLower(rand.Text()[:10])
	case stored != "" && stored != wanted:
		return "", fmt.Errorf("%s holds the data of node %q, not of %q", d.path, stored, wanted)
	}
	if err := validName(wanted); err != nil {
		return "", err
	}
	return wanted, d.write("name", wanted, 0o600)
}

// settleCookie returns the wanted Erlang cookie, the folder's or a new one, and records it.
func (d *dataDir) settleCookie(wanted string) (string, error) {
	const file = "home/.erlang.cookie"
	if wanted == "" {
		stored, err := d.read(file)
		if err != nil {
			return "", err
		}
		if wanted = stored; wanted == "" {
			wanted = rand.Text()
		}
	}
	if err := os.Remove(filepath.Join(d.path, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("replacing the Erlang cookie: %w", err)
	}
	// Erlang refuses a cookie that others may read.
	return wanted, d.write(file, wanted, 0o400)
}

// read returns "" when the file is absent.
func (d *dataDir) read(file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(d.path, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the data folder: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (d *dataDir) write(file, content string, mode fs.FileMode) error {
	if err := os.WriteFile(filepath.Join(d.path, file), []byte(content), mode); err != nil {
		return fmt.Errorf("writing to the data folder: %w", err)
	}
	return nil
}

func (d *dataDir) writeConfig(cfg NodeConfig, p nodePorts, peers []string) error {
	advanced := cfg.AdvancedConfig
	if advanced == "" {
		advanced = "[]."
	}
	return errors.Join(
		d.write("rabbitmq.conf", nodeConf(cfg, p, peers), 0o600),
		d.write("advanced.config", advanced+"\n", 0o600),
		d.write("enabled_plugins", enabledPlugins(cfg), 0o600),
	)
}

// litter returns what may be removed when this process is killed.
func (d *dataDir) litter() []string {
	if d.temporary {
		return []string{d.path}
	}
	return nil
}

func (d *dataDir) close() error {
	err := d.lock.Close()
	if d.temporary {
		err = errors.Join(err, os.RemoveAll(d.path))
	}
	if err != nil {
		return fmt.Errorf("leaving the data folder: %w", err)
	}
	return nil
}

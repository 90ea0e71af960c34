package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What has Node. util.parseArgs is there since 18.
const nodePackages = "Node 18 or later, with npm; Debian: nodejs npm"

// installing is one at a time.
var installing sync.Mutex

// startNode starts the server in Node, over proto files that it reads from the
// folders: the first that has a file wins.
func startNode(t testing.TB, p *platform, address string, folders ...string) *process {
	t.Helper()
	node, npm := tool(t, "node", nodePackages), tool(t, "npm", nodePackages)
	args := []string{"polyglot/node/server.js", "--listen", address, "--recorder", p.recorder.address()}
	for _, f := range folders {
		args = append(args, "--protos", f)
	}
	return startProcess(t, "target-node", append(p.env, "NODE_PATH="+nodeModules(t, npm)), node, args...)
}

// nodeModules is a folder with the packages that the lock file names, out of the
// user's cache: the registry is asked once for each lock file.
func nodeModules(t testing.TB, npm string) string {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	lock, err := os.ReadFile("polyglot/node/package-lock.json")
	require.NoError(t, err)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	digest := sha256.Sum256(lock)
	folder := filepath.Join(cache, "warren", "e2e-node-"+hex.EncodeToString(digest[:8]))
	if _, err := os.Stat(folder); err == nil {
		return filepath.Join(folder, "node_modules")
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(folder), 0o755))
	fresh, err := os.MkdirTemp(filepath.Dir(folder), "e2e-node-")
	require.NoError(t, err)
	defer os.RemoveAll(fresh)
	for _, name := range []string{"package.json", "package-lock.json"} {
		copyFile(t, filepath.Join("polyglot/node", name), filepath.Join(fresh, name))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = fresh
	if out, err := install.CombinedOutput(); err != nil {
		lacking(t, "the packages of polyglot/node can't be had from npm's registry: %v\n%s", err, out)
	}
	// Another process may have been faster.
	if err := os.Rename(fresh, folder); !errors.Is(err, fs.ErrExist) {
		require.NoError(t, err)
	}
	return filepath.Join(folder, "node_modules")
}

// protoFolders have the demo services' proto files and all that these import.
func protoFolders(t testing.TB) []string {
	t.Helper()
	modfile, err := filepath.Abs("../../.tools/buf.mod")
	require.NoError(t, err)
	const module = "github.com/bufbuild/protovalidate"
	if out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-modfile="+modfile, module).CombinedOutput(); err != nil {
		lacking(t, "the Go module with buf/validate/validate.proto can't be had: %v\n%s", err, out)
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-modfile="+modfile, "-m", "-f", "{{.Dir}}", module)
	validate := strings.TrimSpace(string(output(t, list)))
	return []string{"../../proto", filepath.Join(validate, "proto", "protovalidate")}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

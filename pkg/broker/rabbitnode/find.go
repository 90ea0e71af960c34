//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Install is a RabbitMQ that can be run. It comes from [Find]; its zero value is of no use.
type Install struct {
	// Version is the RabbitMQ version, such as "4.3.6".
	Version string

	// home holds sbin and plugins. With a root it is a path inside that root.
	home string
	// root is the folder to chroot into, or "" for an installation of the machine itself.
	root string
}

// ErrUnavailable is wrapped by the errors of [Find] that mean that this machine neither has a suitable RabbitMQ nor can
// install one.
var ErrUnavailable = errors.New("no RabbitMQ 4.3 on this machine")

const waysToGetOne = `use one of:
  - WARREN_AMQP_URL, set to the URL of a RabbitMQ 4.3 that runs already
  - Docker, with the docker-compose.yml of this project
  - RabbitMQ 4.3.3 or a later 4.3 on PATH, with Erlang
  - root on Debian or Ubuntu: a private copy is then installed once, in about a minute`

// Find locates RabbitMQ 4.3.3 or a later 4.3: on PATH or, as root on Debian and Ubuntu, in WARREN_RABBITMQ_DIR (default:
// warren/rabbitmq-4.3 in the user's cache folder), where it is installed from Debian's archive when absent. Installing
// takes about a minute and happens once: processes that ask at the same time wait for each other, and an interrupted
// installation leaves nothing that a later call takes for a complete one.
//
// log, when not nil, is told before anything slow. The context bounds the installation. An error lists the ways to
// provide a broker, and wraps [ErrUnavailable] when this machine has none and can install none.
func Find(ctx context.Context, log func(format string, args ...any)) (Install, error) {
	if log == nil {
		log = func(string, ...any) {}
	}
	onPath, pathErr := findOnPath()
	if pathErr == nil {
		return onPath, nil
	}
	private, privateErr := findPrivate(ctx, log)
	if privateErr == nil {
		return private, nil
	}
	return Install{}, fmt.Errorf("finding RabbitMQ 4.3: %w; %w\n%s", pathErr, privateErr, waysToGetOne)
}

// findOnPath finds the installation behind the rabbitmq-server on PATH. It keeps the home folder rather than that path,
// since distributions put wrappers there which switch users.
func findOnPath() (Install, error) {
	server, err := exec.LookPath("rabbitmq-server")
	if err != nil {
		return Install{}, errors.New("rabbitmq-server is not on PATH")
	}
	if _, err := exec.LookPath("erl"); err != nil {
		return Install{}, fmt.Errorf("%s is there, but Erlang's erl is not on PATH", server)
	}
	home, v, ok := homeBehind(server)
	switch {
	case !ok:
		return Install{}, fmt.Errorf("cannot tell the version of %s", server)
	case !v.supported():
		return Install{}, fmt.Errorf("%s is RabbitMQ %s, not 4.3.%d or a later 4.3", server, v, oldestPatch)
	}
	return Install{Version: v.String(), home: home}, nil
}

func homeBehind(server string) (string, version, bool) {
	resolved, err := filepath.EvalSymlinks(server)
	if err != nil {
		resolved = server
	}
	homes := []string{filepath.Dir(filepath.Dir(resolved))}
	for _, path := range []string{server, resolved} {
		packaged, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "..", "lib", "rabbitmq", "lib", "rabbitmq_server-*"))
		homes = append(homes, packaged...)
	}
	return newestHome(homes)
}

func newestHome(homes []string) (string, version, bool) {
	var best string
	var bestVersion version
	for _, home := range homes {
		if v, ok := versionOf(home); ok && (best == "" || bestVersion.less(v)) {
			best, bestVersion = home, v
		}
	}
	return best, bestVersion, best != ""
}

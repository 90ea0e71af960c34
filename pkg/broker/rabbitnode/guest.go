//go:build unix

package rabbitnode

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// guestData is where a node in a root of its own sees its data folder.
const guestData = "/mnt"

// enterRoot binds the data folder, /proc and /dev into the root. It runs in a mount namespace of its own, which ends with
// the processes in it, so that nothing stays mounted whatever happens to them.
const enterRoot = `root=$1 data=$2
shift 2
[ -z "$data" ] || mount --bind "$data" "$root` + guestData + `"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"`

// command returns the arguments and the environment to run a program of the installation with, and with a data folder in
// sight unless data is "". Every step replaces the process, so that the process which is started becomes the program.
func (i Install) command(data string, env []string, program ...string) (argv, environ []string) {
	if i.root == "" {
		return program, append(hostEnviron(), env...)
	}
	argv = []string{"unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", enterRoot, "sh", i.root, data}
	argv = append(argv, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
	return append(append(argv, env...), program...), hostEnviron()
}

// hostEnviron is this process's environment without what would configure a RabbitMQ or an Erlang of the machine.
func hostEnviron() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "RABBITMQ_") && !strings.HasPrefix(entry, "ERL_") && !strings.HasPrefix(entry, "HOME=") {
			env = append(env, entry)
		}
	}
	return env
}

// guestPath returns the path under which a program of the installation sees a path inside the data folder.
func (i Install) guestPath(data string, elem ...string) string {
	if i.root != "" {
		data = guestData
	}
	return path.Join(append([]string{data}, elem...)...)
}

func (i Install) script(name string) string { return path.Join(i.home, "sbin", name) }

// epmdProgram returns epmd, which lives beside erl in Erlang's own folder and is not always on PATH.
func (i Install) epmdProgram() string {
	if i.root != "" {
		return "epmd"
	}
	for dir := range strings.SplitSeq(os.Getenv("PATH"), string(os.PathListSeparator)) {
		erl, err := filepath.EvalSymlinks(filepath.Join(dir, "erl"))
		if err != nil {
			continue
		}
		if beside := filepath.Join(filepath.Dir(erl), "epmd"); isFile(beside) {
			return beside
		}
	}
	return "epmd"
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// baseEnv is the environment of every Erlang process of a node.
func (i Install) baseEnv(data, nodeName string, epmdPort int) []string {
	return []string{
		"HOME=" + i.guestPath(data, "home"),
		"RABBITMQ_NODENAME=" + nodeName,
		// The machine's own settings for RabbitMQ are not ours: this file does not exist.
		"RABBITMQ_CONF_ENV_FILE=" + i.guestPath(data, "rabbitmq-env.conf"),
		"ERL_EPMD_PORT=" + strconv.Itoa(epmdPort),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		// No Erlang may start an epmd of its own, which would be a daemon and outlive us.
		"ERL_ZFLAGS=-start_epmd false",
		"ERL_CRASH_DUMP_BYTES=0",
	}
}

// serverEnv is the environment of a broker.
func (i Install) serverEnv(data, nodeName string, epmdPort, distPort int) []string {
	return append(i.baseEnv(data, nodeName, epmdPort),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(distPort),
		"RABBITMQ_CONFIG_FILE="+i.guestPath(data, "rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+i.guestPath(data, "advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+i.guestPath(data, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+i.guestPath(data, "data"),
		"RABBITMQ_LOG_BASE="+i.guestPath(data, "log"),
		// Makes the start script replace itself by Erlang instead of waiting for it.
		"RUNNING_UNDER_SYSTEMD=true",
		fmt.Sprintf("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S %d:%[1]d -kernel inet_dist_use_interface {127,0,0,1}", schedulers()),
	)
}

// schedulers is the number of threads that run Erlang code, kept low since nodes share the machine with what they serve.
func schedulers() int { return min(runtime.NumCPU(), 4) }

// ctlEnv is the environment of rabbitmqctl.
func (i Install) ctlEnv(data, nodeName string, epmdPort int) []string {
	return append(i.baseEnv(data, nodeName, epmdPort),
		"RABBITMQ_CTL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		// Any free port: the default range has room for eleven at once on a machine.
		"RABBITMQ_CTL_DIST_PORT_MIN=0",
		"RABBITMQ_CTL_DIST_PORT_MAX=0",
	)
}

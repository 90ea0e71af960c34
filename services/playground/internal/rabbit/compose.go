//go:build unix

package rabbit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/warrenmq/warren/pkg/ports"
)

const (
	engineTimeout = 10 * time.Second
	// readyTimeout is for a container whose image is there; pulling has no bound
	// but the caller's.
	readyTimeout = 2 * time.Minute
	portTries    = 3
)

// engineAnswers says whether `docker compose` is there and has an engine.
func engineAnswers(ctx context.Context, log func(string, ...any)) bool {
	if _, err := exec.LookPath("docker"); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if _, err := docker(ctx, nil, "info", "--format", "{{.ServerVersion}}"); err != nil {
		log("docker is there, but no engine answers it")
		return false
	}
	if _, err := docker(ctx, nil, "compose", "version"); err != nil {
		log("docker is there, but without docker compose")
		return false
	}
	return true
}

// container is a Docker Compose project with the service `rabbitmq`.
type container struct {
	file, project string
	port          int
	managed       int
	keep          bool
}

// startContainer starts RabbitMQ with Docker. What it started of it, it removes
// again when it fails.
func startContainer(ctx context.Context, cfg Config) (*Broker, error) {
	cfg.Log("starting RabbitMQ with Docker; its image is pulled if it is not there")
	var failed error
	for try := range portTries {
		c, err := newContainer(ctx, cfg, try)
		if err != nil {
			return nil, err
		}
		if failed = c.up(ctx); failed == nil {
			return &Broker{
				URLs:   []string{"amqp://guest:guest@" + ports.Loopback(c.port) + "/"},
				Origin: "RabbitMQ 4.3 in Docker, project " + c.project,
				stop:   c.down,
				log:    cfg.Log,
			}, nil
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		failed = errors.Join(failed, c.down(clean))
		cancel()
		if ctx.Err() != nil || (ports.Free(ctx, c.port) && ports.Free(ctx, c.managed)) {
			break
		}
	}
	return nil, failed
}

func newContainer(ctx context.Context, cfg Config, try int) (*container, error) {
	c := &container{file: cfg.ComposeFile, project: cfg.Project, keep: cfg.Keep}
	var err error
	if try == 0 {
		c.port = wantedPort(ctx, cfg)
	}
	if c.port == 0 {
		if c.port, err = ports.AnyFree(ctx); err != nil {
			return nil, err
		}
	}
	if c.managed, err = ports.AnyFree(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *container) up(ctx context.Context) error {
	_, err := c.compose(ctx, "up", "--detach", "--wait", "--wait-timeout", fmt.Sprint(int(readyTimeout.Seconds())), "rabbitmq")
	return err
}

func (c *container) down(ctx context.Context) error {
	args := []string{"down"}
	if !c.keep {
		args = append(args, "--volumes")
	}
	_, err := c.compose(ctx, args...)
	return err
}

func (c *container) compose(ctx context.Context, args ...string) (string, error) {
	env := []string{
		fmt.Sprintf("WARREN_RABBITMQ_PORT=%d", c.port),
		fmt.Sprintf("WARREN_RABBITMQ_MANAGEMENT_PORT=%d", c.managed),
	}
	return docker(ctx, env, append([]string{"compose", "--file", c.file, "--project-name", c.project}, args...)...)
}

// docker runs the command to its end, or interrupts it when the context ends,
// and returns its output. An error has what it printed.
func docker(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), env...)
	// Ctrl-C in the terminal must not reach it past this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = engineTimeout
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

//go:build unix

// Package demo shows what Warren does, on a platform that it starts and stops
// itself, and checks that all of it was right.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/playground/internal/platform"
	"github.com/warrenmq/warren/services/playground/internal/rabbit"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

// stepTimeout is many times what a step takes.
const stepTimeout = time.Minute

// Config says what the demo runs on.
type Config struct {
	// BinDir has the binaries `gateway`, `deadletter` and `demo`. Required.
	BinDir string
	// ComposeFile is a Docker Compose file with a service `rabbitmq`. Default:
	// none, so that Docker is not used.
	ComposeFile string
	// AMQPURLs are those of a broker that runs already. Default: one is started.
	AMQPURLs []string
	// Print is where the demo is shown. Required.
	Print *show.Printer
}

// Run shows the demo, which takes some seconds, and stops everything that it
// started, also when the context ends. Its error says all that was wrong.
func Run(ctx context.Context, cfg Config) (err error) {
	if err := platform.CheckBinaries(cfg.BinDir); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "warren-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := "warren-demo-" + strings.ToLower(rand.Text()[:8])

	cfg.Print.Title("Starting")
	broker, err := rabbit.Get(ctx, rabbit.Config{
		Given:       cfg.AMQPURLs,
		ComposeFile: cfg.ComposeFile,
		Project:     name,
		Log:         func(format string, args ...any) { cfg.Print.Line("broker", format, args...) },
	})
	if err != nil {
		return fmt.Errorf("get a broker: %w", err)
	}
	defer func() { err = errors.Join(err, broker.Stop(ctx)) }()
	cfg.Print.Line("broker", "%s", broker.Origin)
	if broker.Given {
		cfg.Print.Line("", "namespace %s; its queues and exchanges stay there", name)
	}
	return withPlatform(ctx, platform.Config{
		BinDir: cfg.BinDir, Dir: dir, AMQPURLs: broker.URLs, Namespace: name, Print: cfg.Print,
	})
}

// withPlatform runs the steps on a platform of their own. When something was
// wrong, the ends of its logs are shown.
func withPlatform(ctx context.Context, cfg platform.Config) error {
	p, err := platform.Start(ctx, cfg)
	if err == nil {
		err = steps(ctx, cfg.Print, p)
	}
	cfg.Print.Title("Stopping")
	stopped := p.Stop()
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), stopped)
	}
	if err = errors.Join(err, stopped); err != nil {
		cfg.PrintLogs()
	}
	return err
}

// session is what the steps work with.
type session struct {
	tasks taskv1.TaskServiceClient
	dead  deadletterv1.DeadLetterServiceClient
	print *show.Printer
}

// steps runs every step, also after one has failed: each tells something of
// its own.
func steps(ctx context.Context, out *show.Printer, p *platform.Platform) error {
	s := &session{
		tasks: taskv1.NewTaskServiceClient(p.Gateway.Conn),
		dead:  deadletterv1.NewDeadLetterServiceClient(p.Deadletter.Conn),
		print: out,
	}
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	var wrong []error
	for i, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"A photograph becomes a thumbnail", s.thumbnail},
		{"A contact sheet of 12 pictures, with its messages as they come", s.contactSheet},
		{"A task that fails for good", s.failure},
		{"20 thumbnails at once", s.batch},
		{"A task that fails twice, and is tried again", s.retries},
		{"A dead letter: found, understood, replayed", s.deadLetter},
	} {
		out.Title("%d. %s", i+1, step.title)
		if err := runStep(ctx, step.run); err != nil {
			out.Line("WRONG", "%v", err)
			wrong = append(wrong, fmt.Errorf("step %d: %w", i+1, err))
		}
		if ctx.Err() != nil {
			return errors.Join(append(wrong, context.Cause(ctx))...)
		}
	}
	return errors.Join(wrong...)
}

func runStep(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	return step(ctx)
}

//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/warrenmq/warren/pkg/ports"
)

// epmd is the Erlang port mapper of one node or one cluster, at a port of its own and not at the well-known one, where
// the machine's own may run.
type epmd struct {
	port int
	proc *group
	// out is a file without a name that holds what epmd prints.
	out *os.File
}

const (
	startTries = 5
	readyPoll  = 25 * time.Millisecond
)

func (i Install) startEpmd(ctx context.Context) (*epmd, error) {
	var lastErr error
	for range startTries {
		port, err := ports.AnyFree(ctx)
		if err != nil {
			return nil, err
		}
		e, err := i.startEpmdAt(ctx, port)
		if err == nil || ctx.Err() != nil {
			return e, err
		}
		lastErr = err
	}
	return nil, lastErr
}

func (i Install) startEpmdAt(ctx context.Context, port int) (*epmd, error) {
	argv, env := i.command("", nil, i.epmdProgram(), "-address", "127.0.0.1", "-port", fmt.Sprint(port))
	out, err := namelessFile()
	if err != nil {
		return nil, fmt.Errorf("starting epmd: %w", err)
	}
	proc, err := startGroup(groupSpec{argv: argv, env: env, out: out})
	if err != nil {
		return nil, fmt.Errorf("starting epmd: %w", errors.Join(err, out.Close()))
	}
	e := &epmd{port: port, proc: proc, out: out}
	if err := e.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *epmd) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		conn, err := net.DialTimeout("tcp", ports.Loopback(e.port), time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-e.proc.done:
			return fmt.Errorf("epmd ended at its start (%w) and printed: %s", e.proc.err, e.printed())
		case <-ctx.Done():
			return fmt.Errorf("waiting for epmd: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (e *epmd) close() error {
	err := e.proc.kill()
	if closeErr := e.out.Close(); !errors.Is(closeErr, os.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	if err != nil {
		return fmt.Errorf("ending epmd: %w", err)
	}
	return nil
}

func (e *epmd) printed() []byte {
	b := make([]byte, 4<<10)
	n, _ := e.out.ReadAt(b, 0)
	return b[:n]
}

func namelessFile() (*os.File, error) {
	f, err := os.CreateTemp("", "warren-epmd-")
	if err != nil {
		return nil, fmt.Errorf("making a file for its output: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("making a file for its output: %w", err), f.Close())
	}
	return f, nil
}

//go:build unix

// Package platform runs what is measured: a broker, and a gateway and a worker as
// processes of their own.
package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/ports"
	"github.com/warrenmq/warren/pkg/process"
	"github.com/warrenmq/warren/services/bench/internal/noop"
	"github.com/warrenmq/warren/services/bench/internal/usage"
)

const (
	startTimeout = 60 * time.Second
	grace        = 10 * time.Second
	// patience is for a process that is to end, beyond the grace that it gives what
	// is under way.
	patience = 20 * time.Second
	// maxMessageBytes lets answers to large batches through.
	maxMessageBytes = 32 << 20
)

// Config says what to run.
type Config struct {
	// Broker is the broker. Required.
	Broker *Broker
	// Namespace is for Warren's names in the broker. Required.
	Namespace string
	// Gateway and Bench are programs: the gateway's, and this one's, which is a
	// worker with the argument "work", and a server with "serve". Required.
	Gateway, Bench string
	// Dir gets the gateway's store and the logs. Required.
	Dir string
	// Env are variables for the gateway and the worker.
	Env []string
	// Worker is what the worker is started with.
	Worker WorkerSettings
	// Connections is how many gRPC connections submissions share. Required.
	Connections int
	// Server asks for a server that calls the worker's handler without Warren.
	Server bool
}

// Platform is a gateway and a worker that run, and a server where that is asked for.
type Platform struct {
	// Conns are connections to the gateway, and Tasks clients of it, one on each.
	Conns []grpc.ClientConnInterface
	Tasks []taskv1.TaskServiceClient
	// Direct is a connection to the server.
	Direct grpc.ClientConnInterface
	// Reports are those of the worker that was started last.
	Reports *noop.Listener
	// Meters are those of the processes, this one included, by name; empty where
	// the system does not tell.
	Meters map[string]usage.Meter

	cfg       Config
	gateway   *process.Child
	worker    *process.Child
	server    *process.Child
	conns     []*grpc.ClientConn
	listening chan struct{}
}

// Names of processes in [Platform.Meters].
const (
	ProcessGateway = "gateway"
	ProcessWorker  = "worker"
	ProcessServer  = "server"
	ProcessBroker  = "broker"
	ProcessBench   = "bench"
)

// Start starts the processes, and returns once the gateway accepts tasks. The
// caller must Stop the platform, which is not nil after an error either.
func Start(ctx context.Context, cfg Config) (*Platform, error) {
	p := &Platform{cfg: cfg}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it took more than %v", startTimeout))
	defer cancel()
	if err := p.start(ctx); err != nil {
		return p, fmt.Errorf("start Warren: %w", err)
	}
	return p, nil
}

func (p *Platform) start(ctx context.Context) error {
	port, err := ports.AnyFree(ctx)
	if err != nil {
		return fmt.Errorf("find an address for the gateway: %w", err)
	}
	address := ports.Loopback(port)
	if err := p.startGateway(address); err != nil {
		return err
	}
	if err := p.startWorker(p.cfg.Worker); err != nil {
		return err
	}
	if err := p.connect(address); err != nil {
		return err
	}
	if err := p.startServer(ctx); err != nil {
		return err
	}
	p.measureProcesses()
	ctx, cancel := p.Guard(ctx)
	defer cancel()
	if err := p.awaitServer(ctx); err != nil {
		return err
	}
	return awaitType(ctx, p.Tasks[0])
}

// settings of the broker are variables, since others on this machine can read
// arguments, and a URL may have a password.
func (p *Platform) settings() []string {
	return append([]string{"WARREN_AMQP_URL=" + p.cfg.Broker.URL, "WARREN_NAMESPACE=" + p.cfg.Namespace}, p.cfg.Env...)
}

func (p *Platform) startGateway(address string) (err error) {
	p.gateway, err = process.Start(process.Spec{
		Name: "the gateway", Program: p.cfg.Gateway, Env: p.settings(), LogFile: p.log(ProcessGateway),
		Args: []string{
			"--listen=" + address, "--metrics-listen=", "--store-url=sqlite:" + p.store(),
			"--grace=" + grace.String(),
		},
	})
	return err
}

func (p *Platform) connect(address string) error {
	for range p.cfg.Connections {
		conn, err := p.dial(address)
		if err != nil {
			return fmt.Errorf("connect to the gateway: %w", err)
		}
		p.Conns = append(p.Conns, conn)
		p.Tasks = append(p.Tasks, taskv1.NewTaskServiceClient(conn))
	}
	return nil
}

// dial makes a connection that Stop closes.
func (p *Platform) dial(address string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}),
	)
	if err != nil {
		return nil, err
	}
	p.conns = append(p.conns, conn)
	return conn, nil
}

func (p *Platform) measureProcesses() {
	if !usage.Readable() {
		return
	}
	meter := func(pid int) usage.Meter { return func() (time.Duration, error) { return usage.Process(pid) } }
	p.Meters = map[string]usage.Meter{
		ProcessGateway: meter(p.gateway.Pid()), ProcessWorker: meter(p.worker.Pid()), ProcessBench: meter(os.Getpid()),
	}
	if p.server != nil {
		p.Meters[ProcessServer] = meter(p.server.Pid())
	}
	if broker := p.cfg.Broker.meter(); broker != nil {
		p.Meters[ProcessBroker] = broker
	}
}

// Guard is a context that also ends when a process has ended by itself, and then
// says so as its cause.
func (p *Platform) Guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	for _, c := range p.children() {
		go func() {
			select {
			case <-c.Done():
				end(c.Ended())
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { end(context.Canceled) }
}

// Stop ends the processes, the worker first, in a minute at most.
func (p *Platform) Stop() error {
	var failed []error
	for _, conn := range p.conns {
		failed = append(failed, conn.Close())
	}
	return errors.Join(append(failed, p.stopWorker(), p.stopServer(), p.stopGateway())...)
}

func (p *Platform) stopGateway() error {
	if p.gateway == nil {
		return nil
	}
	return p.gateway.Stop(patience)
}

// children are the processes that were started.
func (p *Platform) children() []*process.Child {
	var started []*process.Child
	for _, c := range []*process.Child{p.worker, p.gateway, p.server} {
		if c != nil {
			started = append(started, c)
		}
	}
	return started
}

func (p *Platform) log(name string) string { return filepath.Join(p.cfg.Dir, name+".log") }

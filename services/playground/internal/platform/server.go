//go:build unix

package platform

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/warrenmq/warren/pkg/ports"
	"github.com/warrenmq/warren/pkg/process"
)

// Retries for what the API says to call again. What submits, replays or changes
// something is not retried, because it is not idempotent.
const serviceConfig = `{"methodConfig": [{
	"name": [
		{"service": "warren.task.v1.TaskService", "method": "GetTask"},
		{"service": "warren.task.v1.TaskService", "method": "WaitTask"},
		{"service": "warren.task.v1.TaskService", "method": "WatchTask"},
		{"service": "warren.task.v1.TaskService", "method": "ListTaskAttempts"},
		{"service": "warren.deadletter.v1.DeadLetterService", "method": "GetDeadLetter"},
		{"service": "warren.deadletter.v1.DeadLetterService", "method": "ListDeadLetters"},
		{"service": "warren.deadletter.v1.DeadLetterService", "method": "WatchDeadLetters"}
	],
	"retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

// Server is one of Warren's services that runs.
type Server struct {
	// Address is where it serves gRPC.
	Address string
	// Conn is a connection to it, nil once it was stopped.
	Conn *grpc.ClientConn

	child *process.Child
	// port is the one that was chosen for it, 0 if its address was given.
	port int
}

// spec says how to start a server.
type spec struct {
	name, binary, log, store string
	addresses                Addresses
	// flags are those that not every server has.
	flags []string
}

func gatewaySpec(cfg Config) spec {
	return spec{name: "the gateway", binary: gatewayBinary, log: gatewayLog, store: "gateway.db", addresses: cfg.Gateway}
}

func deadletterSpec(cfg Config, gateway string) spec {
	return spec{
		name: "the dead-letter service", binary: deadletterBinary, log: deadletterLog, store: "deadletter.db", addresses: cfg.Deadletter,
		flags: []string{"--gateway=" + gateway},
	}
}

func (p *Platform) launchServer(ctx context.Context, s spec, server *Server) error {
	*server = Server{Address: s.addresses.Listen}
	if server.Address == "" {
		port, err := ports.AnyFree(ctx)
		if err != nil {
			return err
		}
		server.port, server.Address = port, ports.Loopback(port)
	}
	child, err := process.Start(process.Spec{
		Name:    s.name,
		Program: filepath.Join(p.cfg.BinDir, s.binary),
		Args: append([]string{
			"--listen=" + server.Address, "--metrics-listen=" + s.addresses.MetricsListen,
			"--store-url=sqlite:" + filepath.Join(p.cfg.Dir, s.store), "--grace=" + grace.String(),
		}, s.flags...),
		Env:     p.brokerSettings(),
		LogFile: filepath.Join(p.cfg.Dir, s.log),
	})
	if err != nil {
		return err
	}
	server.child = child
	server.Conn, err = connect(server.Address)
	return err
}

func connect(address string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// The default waits up to 2 min between dials; the server is here within
		// seconds.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: pollInterval, Multiplier: 1.5, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return conn, nil
}

// lostPort says whether the process ended by itself, and somebody else has the
// port that was chosen for it.
func (s *Server) lostPort(ctx context.Context) bool {
	if s.child == nil || s.port == 0 {
		return false
	}
	select {
	case <-s.child.Done():
		return !ports.Free(ctx, s.port)
	default:
		return false
	}
}

func (s *Server) disconnect() error {
	if s.Conn == nil {
		return nil
	}
	conn := s.Conn
	s.Conn = nil
	return conn.Close()
}

package client

import (
	_ "embed"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// DefaultTarget is where a gateway listens by default.
const DefaultTarget = "127.0.0.1:7070"

// ServiceConfig is the gRPC service config for Warren's services, in JSON
// (https://github.com/grpc/grpc/blob/master/doc/service_config.md): what is safe to
// call again is, when it is UNAVAILABLE; watches are not, as who watches goes on by the
// resume token. Clients in other languages find it in this package's folder, as
// service_config.json. [New] applies it.
//
//go:embed service_config.json
var ServiceConfig string

// maxMessage is the gateway's largest answer: a batch of payloads, and what is around
// them.
const maxMessage = 20 << 20

// How a lost gateway is noticed and found again. The gateway allows pings 10 s apart.
const (
	baseDelay      = 100 * time.Millisecond
	maxDelay       = 2 * time.Second
	connectTimeout = 5 * time.Second
	pingPeriod     = 20 * time.Second
	pingTimeout    = 10 * time.Second
)

// New makes a client of the gateways at a gRPC target, such as 127.0.0.1:7070 or
// dns:///gateway.example:7070; empty is [DefaultTarget]. It connects with the first
// call. Close it at the end.
//
// Without credentials among the options it speaks plain text, and to this machine
// only; for others give grpc.WithTransportCredentials. Other options replace what New
// sets: [ServiceConfig], a limit of 20 MiB for answers, keepalive, and soon repeated
// attempts to connect. With grpc.WithDefaultCallOptions come no options of this
// package: see [Client.With]. Errors: an option or the target is not valid.
func New(target string, opts ...grpc.DialOption) (*Client, error) {
	if target == "" {
		target = DefaultTarget
	}
	opts = append(defaultOptions(), opts...)
	conn, err := grpc.NewClient(target, opts...)
	if err != nil && onThisMachine(target) {
		// With credentials among the options this fails, as the first try did.
		var plain error
		if conn, plain = grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...); plain == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("client of the gateway at %s: %w", target, err)
	}
	c := FromConn(conn)
	c.close = conn.Close
	return c, nil
}

func defaultOptions() []grpc.DialOption {
	again := grpcbackoff.DefaultConfig
	again.BaseDelay, again.MaxDelay = baseDelay, maxDelay
	return []grpc.DialOption{
		grpc.WithDefaultServiceConfig(ServiceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingPeriod, Timeout: pingTimeout}),
		grpc.WithStatsHandler(headerWatch{}),
	}
}

// onThisMachine says whether a gRPC target is certain to be of this machine: a socket
// in its file system, or a loopback address.
func onThisMachine(target string) bool {
	switch scheme, rest, _ := strings.Cut(target, ":"); scheme {
	case "unix", "unix-abstract":
		return true
	case "dns", "passthrough":
		// With an authority, as in dns://server/name, it is no loopback's name any more.
		target = strings.TrimPrefix(rest, "///")
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = strings.Trim(target, "[]")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

package target

import (
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/resolver"
)

// fixedScheme is that of a set of targets which were given one by one.
const fixedScheme = "warren-fixed"

// endpoints gives the target name for gRPC, and what resolves it if that is not
// gRPC's own business.
func endpoints(names []string) (string, resolver.Builder, error) {
	switch len(names) {
	case 0:
		return "", nil, errors.New("--target is missing: give a gRPC server's HOST:PORT, or any other gRPC target name")
	case 1:
		if names[0] == "" {
			return "", nil, errors.New("--target is empty: give a gRPC server's HOST:PORT, or any other gRPC target name")
		}
		return names[0], nil, nil
	}
	f := &fixed{}
	for _, name := range names {
		if _, _, err := net.SplitHostPort(name); err != nil {
			return "", nil, fmt.Errorf("--target %s: one of several must be HOST:PORT: %w", name, err)
		}
		// The server's name in TLS and in :authority is the one given.
		f.endpoints = append(f.endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: name, ServerName: name}}})
	}
	return fixedScheme + ":///" + names[0], f, nil
}

// fixed resolves to the same endpoints for ever; their host names are looked up
// with each connection.
type fixed struct{ endpoints []resolver.Endpoint }

// Build implements [resolver.Builder].
func (f *fixed) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	if err := cc.UpdateState(resolver.State{Endpoints: f.endpoints}); err != nil {
		return nil, fmt.Errorf("take over the targets: %w", err)
	}
	return f, nil
}

// Scheme implements [resolver.Builder].
func (f *fixed) Scheme() string { return fixedScheme }

// ResolveNow implements [resolver.Resolver].
func (f *fixed) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements [resolver.Resolver].
func (f *fixed) Close() {}

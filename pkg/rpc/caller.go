package rpc

import (
	"context"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Unauthenticated is the name of a caller who has not shown who they are.
const Unauthenticated = "unauthenticated"

// Caller says who calls: the subject of a certificate that was verified, else
// [Unauthenticated]; and from which address, empty if that is not known.
func Caller(ctx context.Context) (name, address string) {
	name = Unauthenticated
	p, ok := peer.FromContext(ctx)
	if !ok {
		return name, ""
	}
	if p.Addr != nil {
		address = p.Addr.String()
	}
	if t, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(t.State.VerifiedChains) > 0 && len(t.State.VerifiedChains[0]) > 0 {
		if subject := t.State.VerifiedChains[0][0].Subject.String(); subject != "" {
			name = subject
		}
	}
	return name, address
}

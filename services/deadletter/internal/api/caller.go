package api

import (
	"context"

	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// callOf is who asks for a change by an RPC, and why.
func callOf(ctx context.Context, method, reason string) store.Call {
	actor, peer := rpc.Caller(ctx)
	return store.Call{Method: method, Actor: actor, Peer: peer, Reason: reason, Trace: telemetry.Headers(ctx)["traceparent"]}
}

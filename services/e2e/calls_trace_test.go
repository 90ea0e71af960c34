package e2e

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// One trace goes from the caller's span through the call at the gateway and the broker
// to the handler's, which is named after the user's method.
func TestCallIsOneTrace(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, receiver.fromAll())
	p.startWorker(t)
	p.awaitReady(t, typeDelay)

	conn, tracer := tracedCaller(t, p, receiver)
	ctx, root := tracer.Start(t.Context(), "the caller's own span")
	_, err := faults(conn).Delay(ctx, delay(0))
	require.NoError(t, err)
	root.End()

	id := root.SpanContext().TraceID()
	trace := id[:]
	const method = "demo.v1.FaultService/Delay"
	client, server := receiver.rpc(t, trace, method)
	require.Equal(t, "warren-gateway", server.service)
	chain := []span{
		receiver.one(t, trace, "the caller's own span"), client, server, receiver.one(t, trace, "publish warren.tasks"),
		receiver.one(t, trace, "process warren.work."+typeDelay), receiver.one(t, trace, "handler's own span"),
	}
	for i, child := range chain[1:] {
		require.Equal(t, hex.EncodeToString(chain[i].SpanId), hex.EncodeToString(child.ParentSpanId), "%s is not a child of %s", child.Name, chain[i].Name)
	}
}

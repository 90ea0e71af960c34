package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/warrenmq/warren/pkg/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin starts a gateway and a client of it.
func begin(t *testing.T, h hooks, opts ...grpc.DialOption) (context.Context, *gateway, *client.Client) {
	t.Helper()
	g := startGatewayWith(h)
	t.Cleanup(func() { g.Close() })
	c, err := client.New(g.Target, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx, g, c
}

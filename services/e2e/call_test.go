package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

func TestCallsSmoke(t *testing.T) {
	t.Parallel()
	f := forward(t, demoTarget, nil)
	f.awaitReady(t, typeDelay)
	c := demov1.NewImageServiceClient(f.conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var header, trailer metadata.MD
	r, err := c.Thumbnail(ctx, &demov1.ThumbnailRequest{Image: picture(t), MaxWidth: 2, MaxHeight: 2}, grpc.Header(&header), grpc.Trailer(&trailer))
	t.Log(r, err, header, trailer)
	require.NoError(t, err)
	s, err := c.ContactSheet(ctx, pictures(t, 3))
	require.NoError(t, err)
	for {
		m, err := s.Recv()
		if err != nil {
			t.Log(err, s.Trailer())
			break
		}
		t.Log(m.String())
	}
	_, err = demov1.NewFaultServiceClient(f.conn).Fail(metadata.AppendToOutgoingContext(ctx, "warren-max-attempts", "1"), &demov1.FailRequest{Code: 9, Message: "nö", Reason: "X"}, grpc.Header(&header), grpc.Trailer(&trailer))
	t.Log(err, header, trailer)
}

package e2e

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

// forwarding is a platform whose worker is the forwarding worker, and its target.
type forwarding struct {
	*platform
	broker         brokertest.Broker
	target         target
	address        string
	server, worker *process
}

// forward starts everything; flags are the worker's.
func forward(t testing.TB, tg target, flags []string, options ...func(*platform)) *forwarding {
	t.Helper()
	p, b := onVHost(t, options...)
	f := &forwarding{platform: p, broker: b, target: tg, address: porttest.Address(t)}
	f.server = tg.start(t, p, f.address)
	f.worker = f.startForwarder(t, flags...)
	return f
}

// startForwarder starts a forwarding worker for the target.
func (f *forwarding) startForwarder(t testing.TB, flags ...string) *process {
	t.Helper()
	return startProcess(t, "forwarder", f.env, forwarderBinary, slices.Concat([]string{
		"--amqp-url", f.amqpURL, "--target", f.address, "--metrics-listen", "", "--log-level", "debug",
	}, f.target.flags(t), flags)...)
}

// back starts the target again where it was.
func (f *forwarding) back(t testing.TB) {
	t.Helper()
	f.server = f.target.start(t, f.platform, f.address)
}

// with submits a task whose submission brings metadata.
func (f *forwarding) with(t testing.TB, md metadata.MD, r *taskv1.SubmitTaskRequest) *taskv1.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), md), 10*time.Second)
	defer cancel()
	answer, err := f.tasks.SubmitTask(ctx, r)
	require.NoError(t, err)
	return answer.Task
}

// picture is a PNG of 3 by 2 pixels.
func picture(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, png.Encode(&out, image.NewRGBA(image.Rect(0, 0, 3, 2))))
	return out.Bytes()
}

// pictures is a call that streams a message for each picture.
func pictures(t testing.TB, n int) *demov1.ContactSheetRequest {
	t.Helper()
	return &demov1.ContactSheetRequest{Images: slices.Repeat([][]byte{picture(t)}, n)}
}

// entry is the values of a key.
func entry(entries []*taskv1.MetadataEntry, key string) []string {
	for _, e := range entries {
		if e.Key == key {
			return e.Values
		}
	}
	return nil
}

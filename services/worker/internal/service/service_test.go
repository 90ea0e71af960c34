package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/ports/porttest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker/gatewaytest"
	"github.com/warrenmq/warren/services/worker/internal/target"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

const (
	typeUnary  = targettest.Service + "." + targettest.Unary
	typeStream = targettest.Service + "." + targettest.Stream
	typeMore   = targettest.Service + ".More"
)

// running is a forwarding worker in this process.
type running struct {
	probes string
	stop   func()
}

func run(t *testing.T, b brokertest.Broker, address string, edit func(*Config)) *running {
	t.Helper()
	cfg := Config{
		Broker: broker.Config{URLs: []string{b.URL}, Name: "a test's worker", Logger: quiet()}, Target: target.Config{Names: []string{address}},
		Concurrency: 4, Grace: patience, MetricsListen: "127.0.0.1:0", Version: "v-test", Logger: quiet(),
	}
	if edit != nil {
		edit(&cfg)
	}
	s := &service{cfg: cfg}
	require.NoError(t, s.open(t.Context()))
	s.watcher.periods = quick
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	r := &running{probes: "http://" + s.metrics.Addr().String()}
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(2 * patience):
			t.Error("it does not end")
		}
		s.close()
	})
	t.Cleanup(r.stop)
	return r
}

// get asks a probe.
func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(r.probes + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

// awaitProbe waits until /readyz says what it waits for; empty is nothing.
func (r *running) awaitProbe(t *testing.T, want string) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		code, body := r.get(t, "/readyz")
		if (code == http.StatusOK) != (want == "") || !strings.Contains(body, want) {
			return fmt.Errorf("it answers %d: %s", code, body)
		}
		return nil
	})
}

// answerAs answers with the name, the request and headers; the payload `fail` with
// a failure.
func answerAs(name string) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		in := &frame.Frame{}
		if err := ss.RecvMsg(in); err != nil {
			return err
		}
		md, _ := metadata.FromIncomingContext(ss.Context())
		if err := ss.SetHeader(metadata.Pairs("x-request-id", strings.Join(md["x-request-id"], ","), "x-attempt", strings.Join(md["warren-attempt"], ","))); err != nil {
			return err
		}
		ss.SetTrailer(metadata.Pairs("x-server", name))
		if string(in.Bytes) == "fail" {
			return status.Error(codes.InvalidArgument, "no")
		}
		if method, _ := grpc.MethodFromServerStream(ss); strings.HasSuffix(method, targettest.Stream) {
			if err := ss.SendMsg(&frame.Frame{Bytes: []byte("first")}); err != nil {
				return err
			}
		}
		return ss.SendMsg(&frame.Frame{Bytes: []byte(name + " " + string(in.Bytes))})
	}
}

func TestTasksAreCarriedOutByTheTarget(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := gatewaytest.Start(t, b, typeUnary, typeStream, typeMore)
	server := targettest.Start(t, targettest.Config{Handle: answerAs("one"), Offer: targettest.Files(t)})
	r := run(t, b, server.Addr, nil)
	r.awaitProbe(t, "")
	code, _ := r.get(t, "/healthz")
	require.Equal(t, http.StatusOK, code)

	done := g.Await(t, submit(t, g, typeUnary, "in", map[string][][]byte{"x-request-id": {[]byte("7")}}), task.PhaseSucceeded)
	require.Equal(t, "one in", string(done.Message))
	require.Equal(t, []string{"7"}, done.Headers["x-request-id"])
	require.Equal(t, []string{"1"}, done.Headers["x-attempt"])
	require.Equal(t, []string{"one"}, done.Trailers["x-server"])

	id := submit(t, g, typeStream, "in", nil)
	done = g.Await(t, id, task.PhaseSucceeded)
	require.Equal(t, "one in", string(done.Message))
	require.Len(t, g.Of(id, task.PhaseMessage), 2)

	dead := g.Await(t, submit(t, g, typeUnary, "fail", nil), task.PhaseDeadLettered)
	require.Equal(t, int(codes.InvalidArgument), dead.Failure.Code)
	require.Equal(t, "no", dead.Failure.Message)
	require.Equal(t, []string{"one"}, dead.Trailers["x-server"])
	registered, _ := g.Registrations()
	require.Equal(t, []string{targettest.Service}, registered[0].Services)

	// While nobody listens tasks wait, and nothing is spent.
	server.Stop()
	r.awaitProbe(t, "target: "+target.ErrUnreachable.Error())
	waiting := submit(t, g, typeUnary, "later", nil)
	late := submit(t, g, typeMore, "new", nil)
	targettest.Start(t, targettest.Config{Addr: server.Addr, Handle: answerAs("two"), Offer: targettest.Files(t, "More")})
	done = g.Await(t, waiting, task.PhaseSucceeded)
	require.Equal(t, "two later", string(done.Message))
	require.Equal(t, 1, done.Key.Attempt)
	require.Equal(t, "two new", string(g.Await(t, late, task.PhaseSucceeded).Message), "what it offers since")
	r.stop()
}

func TestItSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	r := run(t, b, porttest.Address(t), nil)
	r.awaitProbe(t, "broker: exchange")
	r.awaitProbe(t, "target: the target can't be reached")
	gatewaytest.Start(t, b)
	brokertest.Eventually(t, patience, func() bool {
		_, body := r.get(t, "/readyz")
		return !strings.Contains(body, "broker")
	})
	r.stop()
}

func TestServicesFromAFile(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := gatewaytest.Start(t, b, typeUnary)
	server := targettest.Start(t, targettest.Config{Handle: answerAs("one")})
	file := filepath.Join(t.TempDir(), "set")
	content, err := proto.Marshal(targettest.Set())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	run(t, b, server.Addr, func(c *Config) { c.DescriptorsFile = file })
	done := g.Await(t, submit(t, g, typeUnary, "in", nil), task.PhaseSucceeded)
	require.Equal(t, "one in", string(done.Message))
}

func TestTasksThatRunFinishWhenItStops(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := gatewaytest.Start(t, b, typeUnary)
	started, release := make(chan struct{}), make(chan struct{})
	server := targettest.Start(t, targettest.Config{Offer: targettest.Files(t), Handle: func(srv any, ss grpc.ServerStream) error {
		close(started)
		<-release
		return answerAs("one")(srv, ss)
	}})
	r := run(t, b, server.Addr, nil)
	id := submit(t, g, typeUnary, "in", nil)
	<-started
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop()
	}()
	brokertest.Eventually(t, patience, func() bool {
		_, body := r.get(t, "/readyz")
		return strings.Contains(body, "stopping")
	})
	close(release)
	<-stopped
	require.Equal(t, "one in", string(g.Await(t, id, task.PhaseSucceeded).Message))
}

func TestCancellationReachesTheTarget(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := gatewaytest.Start(t, b, typeUnary, typeStream)
	called, ended := make(chan struct{}, 2), make(chan error, 2)
	server := targettest.Start(t, targettest.Config{Offer: targettest.Files(t), Handle: func(_ any, ss grpc.ServerStream) error {
		called <- struct{}{}
		<-ss.Context().Done()
		ended <- ss.Context().Err()
		return ss.Context().Err()
	}})
	r := run(t, b, server.Addr, nil)
	ids := []string{submit(t, g, typeUnary, "in", nil), submit(t, g, typeStream, "in", nil)}
	for range ids {
		next(t, called)
	}
	_, w := g.Registrations()
	g.Cancel(t, w, "nobody waits for it", ids...)
	for range ids {
		require.ErrorIs(t, next(t, ended), context.Canceled)
	}
	for _, id := range ids {
		e := g.Await(t, id, task.PhaseCancelled)
		require.Equal(t, "nobody waits for it", e.Reason)
		require.Equal(t, int(codes.Canceled), e.Failure.Code)
		require.Len(t, g.Of(id, task.PhaseStarted), 1)
	}
	r.stop()
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"a broker":          {func(c *Config) { c.Broker.URLs = []string{"http://x"} }, "configure the broker"},
		"no concurrency":    {func(c *Config) { c.Concurrency = 0 }, "--concurrency"},
		"no target":         {func(c *Config) { c.Target.Names = nil }, "--target"},
		"a metadata file":   {func(c *Config) { c.MetadataFile = "/nowhere" }, "--metadata-file"},
		"clear text":        {func(c *Config) { c.MetadataFile, c.Target.Names = os.DevNull, []string{"images:1"} }, "clear text"},
		"a descriptor file": {func(c *Config) { c.DescriptorsFile = "/nowhere" }, "--descriptors"},
		"an open port":      {func(c *Config) { c.MetricsListen = "0.0.0.0:0" }, "--insecure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{
				Broker: broker.Config{Name: "a test's worker", Logger: quiet()}, Target: target.Config{Names: []string{"127.0.0.1:1"}},
				Concurrency: 1, Logger: slog.New(slog.DiscardHandler),
			}
			c.edit(&cfg)
			require.ErrorContains(t, Run(t.Context(), cfg), c.want)
		})
	}
}

//go:build unix

package service

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/health"
	"github.com/warrenmq/warren/pkg/ports/porttest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	patience   = 30 * time.Second
	taskType   = "acme.v1.ImageService.Resize"
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

var (
	names  = broker.Names{Namespace: broker.DefaultNamespace}
	secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
)

// gateway is a gRPC server that knows what a gateway knows.
type gateway struct {
	taskv1.UnimplementedTaskServiceServer
	adminv1.UnimplementedAdminServiceServer

	target string
	mu     sync.Mutex
	tasks  map[string]*taskv1.Task
}

func (g *gateway) GetTask(_ context.Context, r *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.tasks[r.TaskId]; t != nil {
		return &taskv1.GetTaskResponse{Task: t}, nil
	}
	return nil, status.Error(codes.NotFound, "none")
}

func (g *gateway) ClaimTaskRun(context.Context, *adminv1.ClaimTaskRunRequest) (*adminv1.ClaimTaskRunResponse, error) {
	return &adminv1.ClaimTaskRunResponse{Held: true}, nil
}

func (g *gateway) know(id string, run int, state taskv1.TaskState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tasks[id] = &taskv1.Task{TaskId: id, Run: int32(run), State: state}
}

func startGateway(t *testing.T, l net.Listener) *gateway {
	t.Helper()
	g := &gateway{target: l.Addr().String(), tasks: map[string]*taskv1.Task{}}
	server, health := grpc.NewServer(), grpchealth.NewServer()
	health.SetServingStatus(taskv1.TaskService_ServiceDesc.ServiceName, serving)
	taskv1.RegisterTaskServiceServer(server, g)
	adminv1.RegisterAdminServiceServer(server, g)
	grpc_health_v1.RegisterHealthServer(server, health)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return g
}

// declare runs a connection that declares what a gateway does.
func declare(t *testing.T, url string) (*broker.Publisher, func()) {
	t.Helper()
	cfg := broker.Config{URLs: []string{url}, Name: t.Name(), Logger: slog.New(slog.DiscardHandler)}
	require.NoError(t, cfg.Validate())
	conn := broker.NewConnection(cfg, "gateway", func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		return topology.DeclareWork(taskType)
	})
	p := broker.NewPublisher(conn)
	stop := start(t, func(ctx context.Context) error {
		conn.Run(ctx)
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, p.AwaitReady(ctx))
	return p, stop
}

// start runs f until it is stopped, after the test at the latest.
func start(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(2 * patience):
			t.Error("it does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// running is a service in this process.
type running struct {
	deadletterv1.DeadLetterServiceClient

	conn *grpc.ClientConn
	// metrics is where health is served over HTTP.
	metrics string
	stop    func()
}

func run(t *testing.T, cfg Config) *running {
	t.Helper()
	cfg.Broker.Name = "a test"
	require.NoError(t, cfg.Broker.Validate())
	var r resources
	require.NoError(t, r.open(t.Context(), cfg))
	s, err := newService(cfg, r)
	require.NoError(t, err)
	conn, err := grpc.NewClient(r.api.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { r.close() })
	out := &running{DeadLetterServiceClient: deadletterv1.NewDeadLetterServiceClient(conn), conn: conn, metrics: r.metrics.Addr().String()}
	out.stop = start(t, s.run)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return out
}

func (r *running) awaitHealth(t *testing.T, service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	client := grpc_health_v1.NewHealthClient(r.conn)
	brokertest.Eventually(t, patience, func() error {
		h, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err == nil && h.Status != want {
			err = fmt.Errorf("%s is %s", service, h.Status)
		}
		return err
	})
}

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + r.metrics + path)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func config(t *testing.T, url, target string, log *slog.Logger) Config {
	t.Helper()
	return Config{
		Broker: broker.Config{URLs: []string{url}, Logger: log}, Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		StoreURL: "sqlite:" + filepath.Join(t.TempDir(), "store.db"), Gateway: target, Grace: time.Second, Logger: log,
	}
}

func newTask() *broker.TaskMessage {
	now := time.Now()
	return &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Payload: []byte("payload"), Run: 1, Copy: task.NewCopy(), CreateTime: now, RunTime: now, Priority: 4,
	}
}

func TestItWaitsForWhatItNeeds(t *testing.T) {
	t.Parallel()
	const own = "warren.deadletter.v1.DeadLetterService"
	b, out, target := brokertest.VHost(t), &logtest.Buffer{}, porttest.Address(t)
	r := run(t, config(t, b.URL, target, slog.New(slog.NewTextHandler(out, nil))))
	r.awaitHealth(t, health.Store, serving)
	r.awaitHealth(t, own, notServing)
	r.awaitHealth(t, gatewayService, notServing)
	brokertest.Eventually(t, patience, func() bool {
		code, text := r.get(t, "/readyz")
		return code == http.StatusServiceUnavailable && bytes.Contains([]byte(text), []byte("warren.dead is missing, a gateway declares it"))
	})
	brokertest.Eventually(t, patience, func() bool {
		return bytes.Contains([]byte(out.String()), []byte("warren.dead is missing, a gateway declares it"))
	})
	code, _ := r.get(t, "/healthz")
	require.Equal(t, http.StatusOK, code, "it is up")
	_, err := r.ListDeadLetters(t.Context(), &deadletterv1.ListDeadLettersRequest{})
	require.NoError(t, err, "what needs the store alone works")

	p, _ := declare(t, b.URL)
	r.awaitHealth(t, own, serving)
	m := newTask()
	require.NoError(t, p.PublishDead(t.Context(), m, broker.Death{Cause: task.CausePermanentFailure}))
	awaitState(t, r, m.ID, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_OPEN)
	_, err = r.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: m.ID, Reason: "r"})
	require.Equal(t, codes.Unavailable, status.Code(err))
	startGateway(t, porttest.ListenAt(t, target))
	r.awaitHealth(t, gatewayService, serving)
	brokertest.Eventually(t, patience, func() bool {
		code, text := r.get(t, "/readyz")
		return code == http.StatusOK && text == "ready\n"
	})
	_, err = r.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: m.ID, Reason: "r"})
	require.NoError(t, err)
}

func awaitState(t *testing.T, r *running, id string, want deadletterv1.DeadLetterState) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		got, err := r.GetDeadLetter(t.Context(), &deadletterv1.GetDeadLetterRequest{DeadLetterId: id})
		if err == nil && got.DeadLetter.State != want {
			err = fmt.Errorf("%s is %s", id, got.DeadLetter.State)
		}
		return err
	})
}

func TestFromDeathToResolution(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	p, _ := declare(t, b.URL)
	g := startGateway(t, porttest.Listen(t))
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	told := make(chan error, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		told <- errors.Join(err, verifier.Verify(body, q.Header))
	}))
	t.Cleanup(hook.Close)
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	cfg := config(t, b.URL, g.target, slog.New(slog.DiscardHandler))
	cfg.Webhook = WebhookConfig{URL: hook.URL, SecretFile: file, Types: []string{"acme.*"}}
	r := run(t, cfg)
	r.awaitHealth(t, gatewayService, serving)
	r.awaitHealth(t, health.Store, serving)
	watch, err := r.WatchDeadLetters(t.Context(), &deadletterv1.WatchDeadLettersRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)

	m := newTask()
	m.ExpireTime, m.ExpireInBroker = time.Now().Add(time.Millisecond), true
	require.NoError(t, p.PublishTask(t.Context(), m))
	news, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, m.ID, news.DeadLetter.DeadLetterId)
	require.Equal(t, taskv1.Cause_CAUSE_EXPIRED, news.DeadLetter.Cause)
	select {
	case err := <-told:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("nobody was told")
	}

	g.know(m.ID, 1, taskv1.TaskState_TASK_STATE_DEAD_LETTERED)
	var wins, losses int
	results := make(chan error, 8)
	for range 8 {
		go func() {
			_, err := r.ReplayDeadLetter(context.Background(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: m.ID, Reason: "mended"})
			results <- err
		}()
	}
	for range 8 {
		switch err := <-results; status.Code(err) {
		case codes.OK:
			wins++
		case codes.Aborted:
			losses++
		default:
			require.NoError(t, err)
		}
	}
	require.Equal(t, []int{1, 7}, []int{wins, losses})
	brokertest.Eventually(t, patience, func() bool { return b.Queue(t, names.Work(taskType)).Messages == 1 })
	require.Len(t, b.Drain(t, names.Work(taskType)), 1)
	g.know(m.ID, 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	awaitState(t, r, m.ID, deadletterv1.DeadLetterState_DEAD_LETTER_STATE_RESOLVED)
	require.Empty(t, told)
}

func TestReflectionListsTheService(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	r := run(t, config(t, b.URL, "127.0.0.1:1", slog.New(slog.DiscardHandler)))
	ask, err := grpc_reflection_v1.NewServerReflectionClient(r.conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, ask.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	}))
	answer, err := ask.Recv()
	require.NoError(t, err)
	var services []string
	for _, s := range answer.GetListServicesResponse().GetService() {
		services = append(services, s.Name)
	}
	require.Contains(t, services, "warren.deadletter.v1.DeadLetterService")
	// The stream is open still, and keeps nothing from stopping.
	begun := time.Now()
	r.stop()
	require.Less(t, time.Since(begun), patience)
}

// Not parallel: it looks at all goroutines of the process.
func TestRunLeavesNothingBehind(t *testing.T) {
	t.Run("run", func(t *testing.T) {
		b := brokertest.VHost(t)
		_, stop := declare(t, b.URL)
		g := startGateway(t, porttest.Listen(t))
		r := run(t, config(t, b.URL, g.target, slog.New(slog.DiscardHandler)))
		r.awaitHealth(t, gatewayService, serving)
		r.awaitHealth(t, health.Store, serving)
		watch, err := r.WatchDeadLetters(t.Context(), &deadletterv1.WatchDeadLettersRequest{})
		require.NoError(t, err)
		_, err = watch.Recv()
		require.NoError(t, err)
		r.stop()
		_, err = watch.Recv()
		require.Equal(t, codes.Unavailable, status.Code(err))
		stop()
	})
	goleak.VerifyNone(t, brokertest.LeakOptions()...)
}

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

// Task types that the test worker serves.
const (
	typeDelay  = "demo.v1.FaultService.Delay"
	typeFail   = "demo.v1.FaultService.Fail"
	typePanic  = "demo.v1.FaultService.Panic"
	typeStuck  = "demo.v1.FaultService.FailTimes"
	typeStream = "demo.v1.ImageService.ContactSheet"
	typeResult = "demo.v1.ImageService.Thumbnail"
	typeExit   = "demo.v1.FaultService.Exit"
)

// platform is one installation: a gateway and workers on a broker.
type platform struct {
	amqpURL string
	address string
	store   string
	// env is for all processes, flags for the gateway.
	env, flags []string
	// program is the gateway's.
	program  string
	gateway  *process
	recorder *recorder
	conn     *grpc.ClientConn
	tasks    taskv1.TaskServiceClient
	admin    adminv1.AdminServiceClient

	// Of the dead-letter service, once it is started.
	deadAddress, deadStore string
	deadletter             *process
	dead                   deadletterv1.DeadLetterServiceClient
}

// newPlatform starts a gateway with a fresh store. Options change it before.
func newPlatform(t testing.TB, amqpURL string, options ...func(*platform)) *platform {
	t.Helper()
	p := &platform{amqpURL: amqpURL, address: porttest.Address(t), program: gatewayBinary, store: filepath.Join(t.TempDir(), "gateway.db"), recorder: newRecorder(t)}
	for _, o := range options {
		o(p)
	}
	p.startGateway(t)
	conn, err := grpc.NewClient(p.address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(32<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}),
	)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	p.conn, p.tasks, p.admin = conn, taskv1.NewTaskServiceClient(conn), adminv1.NewAdminServiceClient(conn)
	return p
}

// onVHost is a platform on a fresh vhost of the shared broker.
func onVHost(t testing.TB, options ...func(*platform)) (*platform, brokertest.Broker) {
	t.Helper()
	b := brokertest.VHost(t)
	return newPlatform(t, b.URL, options...), b
}

func withEnv(env ...string) func(*platform) {
	return func(p *platform) { p.env = append(p.env, env...) }
}

func withFlags(flags ...string) func(*platform) {
	return func(p *platform) { p.flags = append(p.flags, flags...) }
}

func (p *platform) startGateway(t testing.TB) {
	t.Helper()
	p.gateway = startProcess(t, "gateway", p.env, p.program, append([]string{
		"--amqp-url", p.amqpURL, "--listen", p.address, "--store-url", "sqlite:" + p.store, "--grace", "5s",
		"--metrics-listen", "",
	}, p.flags...)...)
}

// startWorker starts a worker process.
func (p *platform) startWorker(t testing.TB, args ...string) *process {
	t.Helper()
	return p.startWorkerOn(t, p.amqpURL, args...)
}

func (p *platform) startWorkerOn(t testing.TB, amqpURL string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return startProcess(t, "worker", append(p.env, workerEnv+"="+p.recorder.address()), self,
		append([]string{"--amqp-url", amqpURL, "--log-level", "debug"}, args...)...)
}

// awaitReady waits until tasks of the type are accepted.
func (p *platform) awaitReady(t testing.TB, taskType string) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// An empty payload of no type: the task type is looked at first.
		_, err := p.tasks.SubmitTask(ctx, &taskv1.SubmitTaskRequest{Type: taskType, Payload: &anypb.Any{TypeUrl: "none/none"}})
		if status.Code(err) == codes.InvalidArgument {
			return nil
		}
		return fmt.Errorf("%s is not accepted yet: %w", taskType, err)
	})
}

// serving asks for a service's health.
func (p *platform) serving(ctx context.Context, service string) bool {
	r, err := grpc_health_v1.NewHealthClient(p.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	return err == nil && r.Status == grpc_health_v1.HealthCheckResponse_SERVING
}

// awaitHealth waits until a service's health is as wanted.
func (p *platform) awaitHealth(t testing.TB, service string, want bool, within time.Duration) {
	t.Helper()
	brokertest.Eventually(t, within, func() error {
		if p.serving(t.Context(), service) != want {
			return fmt.Errorf("health of %s is not %v", service, want)
		}
		return nil
	})
}

func payload(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	require.NoError(t, err)
	return a
}

// submit submits a task that must be accepted.
func (p *platform) submit(t testing.TB, taskType string, m proto.Message) *taskv1.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := p.tasks.SubmitTask(ctx, &taskv1.SubmitTaskRequest{Type: taskType, Payload: payload(t, m)})
	require.NoError(t, err)
	return r.Task
}

// await waits for a task's end.
func (p *platform) await(t testing.TB, id string) *taskv1.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := p.tasks.WaitTask(ctx, &taskv1.WaitTaskRequest{TaskId: id, View: taskv1.TaskView_TASK_VIEW_FULL})
	require.NoError(t, err)
	require.True(t, r.Done, "task %s has not ended: %v", id, r.Task)
	return r.Task
}

func (p *platform) attempts(t testing.TB, id string) []*taskv1.TaskAttempt {
	t.Helper()
	r, err := p.tasks.ListTaskAttempts(t.Context(), &taskv1.ListTaskAttemptsRequest{TaskId: id})
	require.NoError(t, err)
	return r.Attempts
}

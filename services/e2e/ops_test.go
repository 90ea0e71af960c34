package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

// httpGet asks a process's port for operators.
func httpGet(t testing.TB, address, path string) (int, string, error) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// awaitHTTP waits for an answer.
func awaitHTTP(t testing.TB, address, path string, code int, part string) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		got, body, err := httpGet(t, address, path)
		if err == nil && (got != code || !strings.Contains(body, part)) {
			err = fmt.Errorf("%s answers %d: %s", path, got, body)
		}
		return err
	})
}

// scrape reads what Prometheus would.
func scrape(t testing.TB, address string) map[string]*dto.MetricFamily {
	t.Helper()
	code, body, err := httpGet(t, address, "/metrics")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, code)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	require.NoError(t, err)
	return families
}

// calls are how often each method ended with each code.
func calls(families map[string]*dto.MetricFamily) map[string]uint64 {
	counts := map[string]uint64{}
	for _, m := range families["rpc_server_call_duration_seconds"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.Label {
			labels[l.GetName()] = l.GetValue()
		}
		counts[labels["rpc_method"]+" "+labels["rpc_response_status_code"]] = m.Histogram.GetSampleCount()
	}
	return counts
}

// TestOpsMetrics: each service can be scraped, of which the gateway tells of every
// call by its method, if it knows that.
func TestOpsMetrics(t *testing.T) {
	t.Parallel()
	gateway, deadletter, worker := porttest.Address(t), porttest.Address(t), porttest.Address(t)
	p, b := onVHost(t, withFlags("--metrics-listen", gateway))
	p.startDeadletter(t, "--metrics-listen", deadletter)
	startProcess(t, "forwarder", p.env, forwarderBinary, "--amqp-url", b.URL, "--target", porttest.Address(t), "--metrics-listen", worker)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := demov1.NewFaultServiceClient(p.conn).Delay(ctx, delay(0))
	require.NoError(t, err)
	require.Error(t, p.conn.Invoke(ctx, "/acme.v1.Nobody/Does", &emptypb.Empty{}, &emptypb.Empty{}))
	_, err = p.tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: "none"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	brokertest.Eventually(t, 20*time.Second, func() error {
		got := calls(scrape(t, gateway))
		for _, call := range []string{"demo.v1.FaultService/Delay OK", "_OTHER UNIMPLEMENTED", "warren.task.v1.TaskService/GetTask INVALID_ARGUMENT"} {
			if got[call] != 1 {
				return fmt.Errorf("%s is not there: %v", call, got)
			}
		}
		return nil
	})
	for name, address := range map[string]string{"gateway": gateway, "deadletter": deadletter, "worker": worker} {
		awaitHTTP(t, address, "/healthz", http.StatusOK, "up")
		families := scrape(t, address)
		for _, family := range []string{"warren_build_info", "go_goroutine_count", "go_memory_used_bytes", "target_info"} {
			require.Contains(t, families, family, name)
		}
		code, _, err := httpGet(t, address, "/debug/pprof/")
		require.NoError(t, err)
		require.Equal(t, http.StatusNotFound, code, "profiles are off")
	}
}

func TestOpsWithoutMetrics(t *testing.T) {
	t.Parallel()
	address := porttest.Address(t)
	onVHost(t, withFlags("--metrics-listen", address, "--pprof"), withEnv("OTEL_METRICS_EXPORTER=none"))
	awaitHTTP(t, address, "/healthz", http.StatusOK, "up")
	awaitHTTP(t, address, "/metrics", http.StatusNotFound, "")
	awaitHTTP(t, address, "/debug/pprof/goroutine?debug=1", http.StatusOK, "main.main")
}

// TestOpsReadinessDropsFirst: a gateway that stops says so for as long as it is told,
// while it takes new calls and those under way go on.
func TestOpsReadinessDropsFirst(t *testing.T) {
	t.Parallel()
	address := porttest.Address(t)
	p, _ := onVHost(t, withFlags("--metrics-listen", address, "--shutdown-delay", "1h"))
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	awaitHTTP(t, address, "/readyz", http.StatusOK, "ready")
	_, err := p.admin.PauseTaskType(t.Context(), &adminv1.PauseTaskTypeRequest{TaskType: typeDelay, Reason: "to have a call wait"})
	require.NoError(t, err)
	task := p.submit(t, typeDelay, delay(0))
	under := make(chan error, 1)
	go func() {
		r, err := p.tasks.WaitTask(context.Background(), &taskv1.WaitTaskRequest{TaskId: task.TaskId})
		if err == nil && r.Task.State != taskv1.TaskState_TASK_STATE_SUCCEEDED {
			err = fmt.Errorf("the task is %v", r.Task.State)
		}
		under <- err
	}()

	require.NoError(t, p.gateway.cmd.Process.Signal(syscall.SIGTERM))
	awaitHTTP(t, address, "/readyz", http.StatusServiceUnavailable, "this gateway is stopping")
	awaitHTTP(t, address, "/healthz", http.StatusOK, "up")
	other, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer other.Close()
	h, err := grpc_health_v1.NewHealthClient(other).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: taskv1.TaskService_ServiceDesc.ServiceName})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_NOT_SERVING, h.Status, "also over a new connection")
	require.Empty(t, under, "the call goes on")
	_, err = adminv1.NewAdminServiceClient(other).ResumeTaskType(t.Context(), &adminv1.ResumeTaskTypeRequest{TaskType: typeDelay, Reason: "-"})
	require.NoError(t, err)
	select {
	case err := <-under:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Error("the call under way does not end")
	}
}

// TestOpsVersion: one line with the release, the commit if it is known, and Go.
func TestOpsVersion(t *testing.T) {
	t.Parallel()
	for name, binary := range map[string]string{"gateway": gatewayBinary, "deadletter": deadletterBinary, "worker": forwarderBinary, "demo": demoBinary} {
		out, err := exec.CommandContext(t.Context(), binary, "--version").Output()
		require.NoError(t, err)
		require.Regexp(t, `^`+name+` \S+ \((commit [0-9a-f]{12}(, modified)?, )?`+regexp.QuoteMeta(runtime.Version())+`\)\n$`, string(out))
	}
}

// TestOpsServerInfo: each server says what it is to whoever has no protos.
func TestOpsServerInfo(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t, withFlags("--max-payload-bytes", "1000000"))
	p.startDeadletter(t)
	p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 20*time.Second)
	type info struct {
		Server struct {
			Service, Version, InstanceID, StartTime, Namespace string
			GoVersion                                          string
			Broker                                             struct {
				Connected                       bool
				Product, Version, Cluster, Node string
			}
			Store  struct{ Kind, SizeBytes string }
			Limits struct {
				MaxPayloadBytes, MaxBatchBytes string
				MaxBatchTasks                  int
			}
		}
	}
	for service, c := range map[string]struct{ address, method string }{
		"gateway":    {p.address, "warren.admin.v1.AdminService/GetServerInfo"},
		"deadletter": {p.deadAddress, "warren.deadletter.v1.DeadLetterService/GetServerInfo"},
	} {
		var got info
		brokertest.Eventually(t, 20*time.Second, func() bool {
			got = info{}
			decode(t, p.grpcurl(t, c.address, c.method), &got)
			return got.Server.Broker.Connected && got.Server.Store.SizeBytes != ""
		})
		s := got.Server
		require.Equal(t, service, s.Service)
		require.Equal(t, runtime.Version(), s.GoVersion)
		require.Equal(t, "warren", s.Namespace)
		require.Equal(t, "RabbitMQ", s.Broker.Product)
		require.Regexp(t, `^4\.`, s.Broker.Version)
		require.NotEmpty(t, s.Broker.Cluster)
		require.Contains(t, b.URL, s.Broker.Node)
		require.Equal(t, "sqlite", s.Store.Kind)
		started, err := time.Parse(time.RFC3339Nano, s.StartTime)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), started, time.Hour)
		require.NotEmpty(t, s.InstanceID)
		if service == "gateway" {
			require.Equal(t, []any{"1000000", "16777216", 1000}, []any{s.Limits.MaxPayloadBytes, s.Limits.MaxBatchBytes, s.Limits.MaxBatchTasks})
		}
	}
}

package gateway

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/health"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	patience   = 15 * time.Second
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// running is a gateway in this process.
type running struct {
	conn  *grpc.ClientConn
	store store.Store
	// stop waits for its end and gives what run returned.
	stop func() error
}

func start(t *testing.T, amqpURL string) *running {
	t.Helper()
	return startMeasured(t, amqpURL, metrictest.New())
}

func startMeasured(t *testing.T, amqpURL string, measured *metrictest.Metrics) *running {
	t.Helper()
	rabbit := broker.Config{URLs: []string{amqpURL}, Name: "a test", Logger: quiet(), MeterProvider: measured.Provider()}
	require.NoError(t, rabbit.Validate())
	url := "sqlite:" + filepath.Join(t.TempDir(), "store.db")
	metrics := sqldb.NewMetrics(measured.Provider(), "gateway", url, storeProblem)
	s, err := openStore(t.Context(), url, metrics, quiet())
	require.NoError(t, err)
	l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
	require.NoError(t, err)
	g, err := newGateway(Config{
		Broker: rabbit, MaxPayloadBytes: 1 << 20, Retention: time.Hour, Grace: patience, Logger: quiet(), MeterProvider: measured.Provider(),
	}, resources{store: s, storeMetrics: metrics, api: l})
	require.NoError(t, err)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.run(ctx) }()
	stopped := false
	r := &running{conn: conn, store: s, stop: func() error {
		stopped = true
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * patience):
			t.Error("the gateway does not end")
			return nil
		}
	}}
	t.Cleanup(func() {
		if !stopped {
			require.NoError(t, r.stop())
		}
		require.NoError(t, conn.Close())
		require.NoError(t, s.Close())
	})
	return r
}

func (r *running) awaitHealth(t *testing.T, service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	client := grpc_health_v1.NewHealthClient(r.conn)
	brokertest.Eventually(t, patience, func() bool {
		h, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		return err == nil && h.Status == want
	})
}

// Not parallel: it looks at all goroutines of the process.
func TestRunLeavesNothingBehind(t *testing.T) {
	t.Run("run", func(t *testing.T) {
		b := brokertest.VHost(t)
		r := start(t, b.URL)
		r.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, serving)
		r.awaitHealth(t, health.Store, serving)
		tasks := taskv1.NewTaskServiceClient(r.conn)
		_, err := tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: uuid.NewString()})
		require.Equal(t, codes.NotFound, status.Code(err), "its marker came back through the broker")
		require.NoError(t, r.stop())
	})
	goleak.VerifyNone(t, brokertest.LeakOptions()...)
}

// waiting keeps a task for later that is due at once.
func waiting(t *testing.T, s store.Store) {
	t.Helper()
	now := time.Now()
	m := &broker.TaskMessage{ID: task.NewID(), Type: "a.v1.A.B", Payload: []byte("p"), Run: 1, Copy: task.NewCopy(), CreateTime: now, Priority: 4}
	encoded, err := broker.EncodeTask(m)
	require.NoError(t, err)
	_, err = s.Schedule(t.Context(), []store.Scheduled{{Message: encoded, Event: task.Event{
		TaskID: m.ID, Type: m.Type, Time: now, ScheduleTime: now, Payload: &task.Payload{Bytes: m.Payload, Size: 1, SHA256: []byte{1}},
		Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseScheduled, Copy: m.Copy}, Head: &task.Head{CreateTime: now, Priority: 4},
	}}})
	require.NoError(t, err)
}

// A task that is being put into its queue when the gateway stops is not put there
// again by the next.
func TestStoppingFinishesWhatIsDue(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	r := start(t, proxy.URL())
	left := func() int64 {
		n, err := r.store.CountScheduled(context.Background(), "")
		require.NoError(t, err)
		return n
	}
	r.awaitHealth(t, health.Store, serving)
	r.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, serving)
	// No gateway declares the queue of a type that it does not know.
	q, ch := broker.Names{Namespace: broker.DefaultNamespace}.WorkQueue("a.v1.A.B"), b.Channel(t)
	_, err := ch.QueueDeclare(q.Name, true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(q.Name, q.Key, q.Exchange, false, nil))
	waiting(t, r.store)
	brokertest.Eventually(t, patience, func() bool { return left() == 0 })

	proxy.Stall()
	waiting(t, r.store)
	brokertest.Eventually(t, patience, func() bool {
		now := time.Now()
		_, next, err := r.store.TakeDue(t.Context(), now, time.Minute, 0, nil)
		return err == nil && next.After(now) // it is leased
	})
	time.AfterFunc(500*time.Millisecond, func() { proxy.Restore() })
	require.NoError(t, r.stop())
	require.Zero(t, left())
}

func TestGatewayWithoutABrokerServesAndStops(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	proxy.Cut()
	r := start(t, proxy.URL())
	r.awaitHealth(t, health.Store, serving)
	r.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, notServing)
	_, err := taskv1.NewTaskServiceClient(r.conn).GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: uuid.NewString()})
	require.Equal(t, codes.Unavailable, status.Code(err), "it can't tell unknown from queued")
	require.NoError(t, r.stop())
}

package serverinfo_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/serverinfo"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// connection leads to a broker, or nowhere.
type connection struct {
	to   broker.Peer
	open bool
}

func (c connection) Peer() (broker.Peer, bool) { return c.to, c.open }

// newServer is one whose store has a size.
func newServer(t *testing.T) *serverinfo.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, os.WriteFile(file, make([]byte, 100), 0o600))
	require.NoError(t, os.WriteFile(file+"-wal", make([]byte, 20), 0o600))
	return &serverinfo.Server{
		Service: "gateway", InstanceID: "an-id", Started: time.Unix(1_700_000_000, 0), Namespace: "warren",
		StoreURL: "sqlite:" + file, Limits: &adminv1.ServerLimits{MaxPayloadBytes: 7}, Management: true,
	}
}

func TestInfo(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	s := newServer(t)
	s.Connections = []serverinfo.Connection{
		connection{}, connection{broker.Peer{Product: "RabbitMQ", Version: "4.3.6", Cluster: "rabbit@a", Address: "127.0.0.1:5672"}, true},
	}
	want := &adminv1.ServerInfo{
		Service: "gateway", Version: buildinfo.Read().Version, Commit: buildinfo.Read().Commit, GoVersion: runtime.Version(),
		InstanceId: "an-id", StartTime: &timestamppb.Timestamp{Seconds: 1_700_000_000}, Namespace: "warren",
		Broker:   &adminv1.BrokerInfo{Connected: true, Product: "RabbitMQ", Version: "4.3.6", Cluster: "rabbit@a", Node: "127.0.0.1:5672"},
		Store:    &adminv1.StoreInfo{Kind: "sqlite", SizeBytes: proto.Int64(120)},
		Limits:   &adminv1.ServerLimits{MaxPayloadBytes: 7},
		Features: &adminv1.ServerFeatures{Management: true},
	}
	require.Empty(t, compare(want, s.Info()))
}

func compare(want, got proto.Message) string {
	if proto.Equal(want, got) {
		return ""
	}
	return got.(interface{ String() string }).String()
}

func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.Connections = []serverinfo.Connection{connection{}}
	s.StoreURL = "postgres://user:password@host/warren"
	info := s.Info()
	require.Empty(t, compare(&adminv1.BrokerInfo{}, info.Broker))
	require.Empty(t, compare(&adminv1.StoreInfo{Kind: "postgres"}, info.Store))
	require.NotContains(t, info.String(), "password")
}

func TestFeatures(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	stop, err := telemetry.Start(t.Context(), "test", "v", slog.New(slog.DiscardHandler), telemetry.WithScrape(&telemetry.Scrape{}))
	require.NoError(t, err)
	defer func() {
		require.NoError(t, stop(t.Context()))
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
	}()
	s := newServer(t)
	s.Management, s.Profiling = false, true
	require.Empty(t, compare(&adminv1.ServerFeatures{Metrics: true, Profiling: true}, s.Info().Features))
}

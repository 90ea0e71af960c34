package telemetry_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// patience is how long an export may take.
const patience = 10 * time.Second

// inbox keeps the first requests of a signal.
type inbox[T any] chan T

func newInbox[T any]() inbox[T] { return make(chan T, 10) }

func (i inbox[T]) put(request T) {
	select {
	case i <- request:
	default:
	}
}

// next waits for a request.
func (i inbox[T]) next(t *testing.T) T {
	t.Helper()
	select {
	case request := <-i:
		return request
	case <-time.After(patience):
		require.Fail(t, "nothing was exported")
		panic("unreachable")
	}
}

// receiver takes in traces, and metrics unless they are nil.
type receiver struct {
	traces  inbox[*tracev1.ExportTraceServiceRequest]
	metrics inbox[*metricsv1.ExportMetricsServiceRequest]
}

func newReceiver() *receiver {
	return &receiver{newInbox[*tracev1.ExportTraceServiceRequest](), newInbox[*metricsv1.ExportMetricsServiceRequest]()}
}

type traceService struct {
	tracev1.UnimplementedTraceServiceServer
	*receiver
}

func (s traceService) Export(_ context.Context, r *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	s.traces.put(r)
	return &tracev1.ExportTraceServiceResponse{}, nil
}

type metricsService struct {
	metricsv1.UnimplementedMetricsServiceServer
	*receiver
}

func (s metricsService) Export(_ context.Context, r *metricsv1.ExportMetricsServiceRequest) (*metricsv1.ExportMetricsServiceResponse, error) {
	s.metrics.put(r)
	return &metricsv1.ExportMetricsServiceResponse{}, nil
}

// listener serves a receiver until the test ends, and gives its URL.
type listener func(*testing.T, *receiver) string

func overGRPC(t *testing.T, r *receiver) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	tracev1.RegisterTraceServiceServer(s, traceService{receiver: r})
	if r.metrics != nil {
		metricsv1.RegisterMetricsServiceServer(s, metricsService{receiver: r})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return "http://" + l.Addr().String()
}

func overHTTP(t *testing.T, r *receiver) string {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, request *http.Request) {
		m := &tracev1.ExportTraceServiceRequest{}
		if read(w, request, m) {
			r.traces.put(m)
		}
	})
	if r.metrics != nil {
		mux.HandleFunc("POST /v1/metrics", func(w http.ResponseWriter, request *http.Request) {
			m := &metricsv1.ExportMetricsServiceRequest{}
			if read(w, request, m) {
				r.metrics.put(m)
			}
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func read(w http.ResponseWriter, request *http.Request, m proto.Message) bool {
	body, err := io.ReadAll(request.Body)
	if err != nil || proto.Unmarshal(body, m) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	return true
}

// requireResource demands what Start was told, and the environment's own.
func requireResource(t *testing.T, r *resourcev1.Resource) {
	t.Helper()
	got := map[string]string{}
	for _, a := range r.Attributes {
		got[a.Key] = a.Value.GetStringValue()
	}
	require.Equal(t, "warren-test", got["service.name"])
	require.Equal(t, "v7", got["service.version"])
	require.Equal(t, "test", got["deployment.environment.name"])
}

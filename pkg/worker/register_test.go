package worker

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func newWorker(t testing.TB, cfg Config) *Worker {
	t.Helper()
	w, err := New(cfg)
	require.NoError(t, err)
	return w
}

func TestRegisterWrongImplementationPanics(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	require.PanicsWithValue(t, "worker: *worker.server does not implement demov1.ImageServiceServer", func() {
		w.RegisterService(&demov1.ImageService_ServiceDesc, &server{})
	})
	require.Empty(t, w.methods)
}

func TestARefusedWorkerSaysWhy(t *testing.T) {
	t.Parallel()
	w := workerOf(t, &server{}, Config{})
	_, err := w.accepted(&brokerv1.RegistrationAnswer{Refusals: []*brokerv1.Refusal{
		{Name: "acme.v1.Echoes.Say", Message: "acme.v1.Echo.name was deleted"}, {Name: "acme.v1.Echoes", Message: "nothing was registered", Service: true},
	}})
	require.ErrorContains(t, err, "accepted none of the services")
	require.ErrorContains(t, err, "acme.v1.Echoes.Say: acme.v1.Echo.name was deleted (and 1 more, see the log)")
	require.ErrorIs(t, err, ErrRefused)
	_, err = w.accepted(&brokerv1.RegistrationAnswer{})
	require.NotErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "accepted none of the services")
}

func TestRegisterTwicePanics(t *testing.T) {
	t.Parallel()
	w := workerOf(t, &server{}, Config{})
	require.PanicsWithValue(t, "worker: service warren.task.v1.TaskService is registered twice", func() {
		taskv1.RegisterTaskServiceServer(w, &server{})
	})
}

func TestRegisterAfterRunPanics(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	require.ErrorContains(t, w.Run(t.Context()), "nothing to work on")
	require.ErrorContains(t, w.Run(t.Context()), "twice")
	require.PanicsWithValue(t, "worker: RegisterService after Run for warren.task.v1.TaskService", func() {
		taskv1.RegisterTaskServiceServer(w, &server{})
	})
}

// mixed has two unary methods that are implemented, and streams of all kinds.
type mixed struct {
	grpc_testing.UnimplementedTestServiceServer
}

func TestRegisterRefusesClientStreamsByName(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	grpc_testing.RegisterTestServiceServer(w, mixed{})
	require.ElementsMatch(t, []string{
		"grpc.testing.TestService.StreamingInputCall",
		"grpc.testing.TestService.FullDuplexCall",
		"grpc.testing.TestService.HalfDuplexCall",
	}, w.refused)
	require.ElementsMatch(t, []string{
		"grpc.testing.TestService.EmptyCall", "grpc.testing.TestService.UnaryCall", "grpc.testing.TestService.CacheableUnaryCall",
		"grpc.testing.TestService.UnimplementedCall", "grpc.testing.TestService.StreamingOutputCall",
	}, w.taskTypes())
	for name, m := range w.methods {
		require.Equal(t, name, m.taskType)
		require.Equal(t, "/"+strings.Replace(name, "TestService.", "TestService/", 1), m.fullMethod)
		require.NotEqual(t, m.unary == nil, m.stream == nil, name)
	}
	// The others work.
	o := invoke(t.Context(), w, "grpc.testing.TestService.UnimplementedCall", nil, nil)
	require.ErrorContains(t, o.err, "UnimplementedCall")
}

func TestRunNamesWhatWasRefused(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	w.RegisterService(&grpc.ServiceDesc{
		ServiceName: "acme.v1.ChatService", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Chat", ClientStreams: true, ServerStreams: true}},
	}, &server{})
	require.ErrorContains(t, w.Run(t.Context()), "acme.v1.ChatService.Chat")
}

func TestRunNeedsDescriptors(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	w.RegisterService(&grpc.ServiceDesc{
		ServiceName: "acme.v1.Unlinked", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Do"}},
	}, &server{})
	require.ErrorContains(t, w.Run(t.Context()), "acme.v1.Unlinked")
}

func TestRegisterNeedsNoHandlerType(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	w.RegisterService(&grpc.ServiceDesc{ServiceName: "acme.v1.Unlinked", Methods: []grpc.MethodDesc{{MethodName: "Do"}}}, &server{})
	w.RegisterService(&grpc.ServiceDesc{ServiceName: "acme.v1.Other", Methods: []grpc.MethodDesc{{MethodName: "Do"}}}, nil)
	require.ElementsMatch(t, []string{"acme.v1.Unlinked.Do", "acme.v1.Other.Do"}, w.taskTypes())
}

func TestGivenDescriptorsAreAnnouncedAsTheyAre(t *testing.T) {
	t.Parallel()
	linked := newWorker(t, Config{})
	demov1.RegisterFaultServiceServer(linked, demov1.UnimplementedFaultServiceServer{})
	collected, err := linked.announcement()
	require.NoError(t, err)
	// A field that nobody knows, 1000, is kept.
	files := slices.Clone(collected.Files)
	files[0] = append(slices.Clone(files[0]), 0xc2, 0x3e, 0x01, 'x')

	w := newWorker(t, Config{Descriptors: files})
	demov1.RegisterFaultServiceServer(w, demov1.UnimplementedFaultServiceServer{})
	a, err := w.announcement()
	require.NoError(t, err)
	require.Equal(t, []string{"demo.v1.FaultService"}, a.Services)
	require.Equal(t, files, a.Files)

	demov1.RegisterImageServiceServer(w, demov1.UnimplementedImageServiceServer{})
	require.ErrorContains(t, w.Run(t.Context()), "demo.v1.ImageService")

	w = newWorker(t, Config{Descriptors: [][]byte{{0xff}}})
	demov1.RegisterFaultServiceServer(w, demov1.UnimplementedFaultServiceServer{})
	require.ErrorContains(t, w.Run(t.Context()), "descriptor 1 of 1")
}

func TestAnnouncementCanBeBuilt(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	demov1.RegisterImageServiceServer(w, demov1.UnimplementedImageServiceServer{})
	demov1.RegisterFaultServiceServer(w, demov1.UnimplementedFaultServiceServer{})
	a, err := w.announcement()
	require.NoError(t, err)
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	require.Empty(t, bundle.Refusals())
	var types []string
	for _, taskType := range bundle.TaskTypes() {
		types = append(types, taskType.Name)
	}
	require.ElementsMatch(t, types, w.taskTypes(), "gateway and worker mean the same types")
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	c, err := Config{}.withDefaults()
	require.NoError(t, err)
	require.Equal(t, 16, c.Concurrency)
	require.Equal(t, 4, c.Prefetch)
	require.Equal(t, 30*time.Second, c.Grace)
	require.Equal(t, 4, c.MaxStuck)
	require.NotEmpty(t, c.Version)
	require.NotNil(t, c.Logger)
	require.NotNil(t, c.TracerProvider)
	require.NotNil(t, c.MeterProvider)

	c, err = Config{Concurrency: 3}.withDefaults()
	require.NoError(t, err)
	require.Equal(t, 1, c.Prefetch, "at least one")

	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	own := Config{Concurrency: 2, Prefetch: 9, Grace: -1, MaxStuck: -1, Version: "v", Logger: log, TracerProvider: noop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider()}
	c, err = own.withDefaults()
	require.NoError(t, err)
	require.Equal(t, own, c)
}

func TestNewRefusesBadConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"concurrency": {Concurrency: -1},
		"prefetch":    {Prefetch: -1},
		"url":         {AMQPURLs: []string{"http://user:hunter2@broker"}},
		"one of many": {AMQPURLs: []string{"amqp://a", "amqp://user:hunter2@[broken"}},
		"namespace":   {Namespace: "a.b"},
	} {
		_, err := New(c)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
}

func TestEachWorkerHasAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, newWorker(t, Config{}).ID(), newWorker(t, Config{}).ID())
}

// Whatever gateways say after that is heard at once, also when it takes long.
func TestToAnnounceAgainHoldsUpNothing(t *testing.T) {
	t.Parallel()
	w := newWorker(t, Config{})
	again := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: &brokerv1.HeartbeatAnswer{RegisterAgain: true}}}
	w.hear(again) // nothing is published here: there is no publisher
	w.hear(again)
	require.Len(t, w.announceAsked, 1)
}

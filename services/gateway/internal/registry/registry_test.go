package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	_ "github.com/warrenmq/warren/gen/demo/v1" // its descriptors are announced
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const patience = 15 * time.Second

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// outage is a real store that can be down.
type outage struct {
	store.Store
	mu  sync.Mutex
	err error
	// lost is what RetireType answers although it has done it.
	lost error
}

func (o *outage) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *outage) failing() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *outage) PutBundle(ctx context.Context, b store.BundleRecord) error {
	if err := o.failing(); err != nil {
		return err
	}
	return o.Store.PutBundle(ctx, b)
}

func (o *outage) Bundles(ctx context.Context) ([]store.BundleRecord, error) {
	if err := o.failing(); err != nil {
		return nil, err
	}
	return o.Store.Bundles(ctx)
}

func (o *outage) RetireType(ctx context.Context, r store.Retirement) error {
	err := o.Store.RetireType(ctx, r)
	if o.lost != nil && err == nil {
		return o.lost
	}
	return err
}

func newStore(t testing.TB) *outage {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &outage{Store: s}
}

// topology counts what is to be declared.
type topology struct {
	calls int
	err   error
}

func (f *topology) Do(context.Context, func(*broker.Topology) error) error {
	f.calls++
	return f.err
}

// told is what workers are told.
type told struct {
	mu       sync.Mutex
	workers  []string
	messages []*brokerv1.ControlMessage
	// types are those whose workers were told something.
	types []string
	err   error
}

func (c *told) PublishControl(_ context.Context, workerID string, m *brokerv1.ControlMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers, c.messages = append(c.workers, workerID), append(c.messages, m)
	return c.err
}

func (c *told) PublishControlType(_ context.Context, taskType string, m *brokerv1.ControlMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.types, c.messages = append(c.types, taskType), append(c.messages, m)
	return c.err
}

// starts keeps what was asked of it.
type starts struct {
	workers  []string
	requests []task.StartRequest
}

func (s *starts) Ask(workerID string, requests ...task.StartRequest) {
	for _, r := range requests {
		s.workers, s.requests = append(s.workers, workerID), append(s.requests, r)
	}
}

// control stands for what knows the workers.
type control struct {
	mu        sync.Mutex
	unloaded  bool
	listening int
	beats     []*brokerv1.Heartbeat
	syncs     []*brokerv1.WorkerRequest
	syncErr   error
	news      *brokerv1.CancellationBatch
	drain     *brokerv1.DrainRequest
	// slots are what operators have set by worker, "" is for all.
	slots map[string]int32
	apart []string
	// version is that of what they have set, stored that of the store, which a Reread
	// takes over; rereads counts those, rereadErr is what they answer.
	version, stored int64
	rereads         int
	rereadErr       error
}

func (c *control) Loaded() bool { return !c.unloaded }

func (c *control) Listening(time.Time) { c.listening++ }

func (c *control) Beat(h *brokerv1.Heartbeat, _ time.Time) { c.beats = append(c.beats, h) }

func (c *control) Sync(_ context.Context, r *brokerv1.WorkerRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.syncs = append(c.syncs, r)
	return c.syncErr
}

func (c *control) asked() []*brokerv1.WorkerRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.syncs)
}

func (c *control) News(*brokerv1.Heartbeat) *brokerv1.CancellationBatch { return c.news }

func (c *control) Drains(*brokerv1.Heartbeat) *brokerv1.DrainRequest { return c.drain }

func (c *control) Decorate(workerID string, p *brokerv1.TypePolicy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Concurrency, p.Version.Control = c.slots[workerID], c.version
}

func (c *control) Reread(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rereads++
	if c.rereadErr == nil {
		c.version = c.stored
	}
	return c.rereadErr
}

func (c *control) Apart(string) []string { return c.apart }

// fixture is a registry and what it works with.
type fixture struct {
	*Registry
	store    *outage
	topology *topology
	told     *told
	types    *tasktypes.Types
	starts   *starts
	control  *control
}

func newFixture(t testing.TB, s *outage) *fixture {
	t.Helper()
	f := &fixture{store: s, topology: &topology{}, told: &told{}, starts: &starts{}, control: &control{}}
	known := catalogue.New()
	f.types = tasktypes.New(known, s, quiet())
	f.Registry = New(Config{
		GatewayID: "g-1", Names: broker.Names{Namespace: "warren"}, Catalogue: known, Types: f.types, Starts: f.starts, Control: f.control, Store: s,
		Controller: f.told, Topology: f.topology, MaxResultBytes: 1234, Logger: quiet(),
	})
	return f
}

// run runs the registry until the test ends.
func (f *fixture) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func announcement(t testing.TB, services ...protoreflect.FullName) catalogue.Announcement {
	t.Helper()
	a, err := catalogue.Collect(nil, services...)
	require.NoError(t, err)
	return a
}

// acme is a service of two methods, the second a bidirectional stream. Two of
// different versions differ in a comment's worth of nothing: an unused message.
func acme(t testing.TB, version string) catalogue.Announcement {
	t.Helper()
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("acme/v1/acme.proto"), Package: proto.String("acme.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M")}, {Name: proto.String("V" + version)}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("ImageService"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Resize"), InputType: proto.String(".acme.v1.M"), OutputType: proto.String(".acme.v1.M")},
			{
				Name: proto.String("Chat"), InputType: proto.String(".acme.v1.M"), OutputType: proto.String(".acme.v1.M"),
				ClientStreaming: proto.Bool(true), ServerStreaming: proto.Bool(true),
			},
		}}},
	}
	b, err := proto.Marshal(file)
	require.NoError(t, err)
	return catalogue.Announcement{Services: []string{"acme.v1.ImageService"}, Files: [][]byte{b}}
}

func request(t testing.TB, a catalogue.Announcement) broker.Delivery {
	t.Helper()
	return encode(t, &brokerv1.WorkerRequest{
		Worker: &brokerv1.WorkerIdentity{WorkerId: "w-1", Host: "h"}, RequestId: "r-1",
		Request: &brokerv1.WorkerRequest_Registration{Registration: &brokerv1.Registration{Services: a.Services, Files: a.Files}},
	})
}

func encode(t testing.TB, m proto.Message) broker.Delivery {
	t.Helper()
	b, err := proto.Marshal(m)
	require.NoError(t, err)
	return broker.Delivery{Body: b}
}

// request has requests handled and serves the registrations among them, without
// Run.
func (f *fixture) request(t testing.TB, batch ...broker.Delivery) {
	t.Helper()
	require.NoError(t, f.Requests().Handle(t.Context(), batch))
	for len(f.registrations) > 0 {
		f.serveRegistration(t.Context(), <-f.registrations)
	}
	require.Empty(t, f.registering)
}

// register has a worker announce something and gives the answer.
func (f *fixture) register(t testing.TB, a catalogue.Announcement) *brokerv1.RegistrationAnswer {
	t.Helper()
	before := len(f.told.messages)
	f.request(t, request(t, a))
	require.Len(t, f.told.messages, before+1)
	require.Equal(t, "w-1", f.told.workers[before])
	m := f.told.messages[before]
	require.Equal(t, "g-1", m.GatewayId)
	require.WithinDuration(t, time.Now(), m.Time.AsTime(), time.Minute)
	require.Equal(t, "r-1", m.GetRegistration().GetRequestId())
	return m.GetRegistration()
}

func TestRegistrationIsAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	answer := f.register(t, announcement(t, "demo.v1.ImageService"))
	require.Empty(t, answer.Refusals)
	require.Len(t, answer.Types, 2)
	for i, name := range []string{"demo.v1.ImageService.ContactSheet", "demo.v1.ImageService.Thumbnail"} {
		require.Equal(t, name, answer.Types[i].Type)
		require.Equal(t, catalogue.DefaultTimeout, answer.Types[i].Timeout.AsDuration())
		require.EqualValues(t, 1234, answer.Types[i].MaxResultBytes)
		_, known := f.cfg.Catalogue.Type(name)
		require.True(t, known)
	}
	require.Equal(t, 1, f.topology.calls, "their queues")
	bundles, err := f.store.Bundles(t.Context())
	require.NoError(t, err)
	require.Len(t, bundles, 1)
	require.Equal(t, []string{"demo.v1.ImageService"}, bundles[0].Services)

	// A second worker of the kind gets the same.
	again := f.register(t, announcement(t, "demo.v1.ImageService"))
	require.True(t, proto.Equal(answer, again))
}

func TestRegistrationRefusesByName(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	answer := f.register(t, acme(t, "1"))
	require.Len(t, answer.Types, 1)
	require.Equal(t, "acme.v1.ImageService.Resize", answer.Types[0].Type)
	require.Len(t, answer.Refusals, 1)
	require.Equal(t, "acme.v1.ImageService.Chat", answer.Refusals[0].Name)
	require.NotEmpty(t, answer.Refusals[0].Message)
	require.False(t, answer.Refusals[0].Service)

	// A service of Warren's own, beside one of a user's.
	both := announcement(t, "demo.v1.FaultService", "warren.task.v1.TaskService")
	answer = f.register(t, both)
	require.NotEmpty(t, answer.Types)
	require.Len(t, answer.Refusals, 1)
	require.Equal(t, "warren.task.v1.TaskService", answer.Refusals[0].Name)
	require.True(t, answer.Refusals[0].Service)
}

func TestRegistrationOfGarbageIsRefusedWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	known := f.register(t, acme(t, "1"))
	require.Len(t, known.Types, 1)
	for name, a := range map[string]catalogue.Announcement{
		"garbage":  {Services: []string{"acme.v1.ImageService", "acme.v1.Other"}, Files: [][]byte{{0x0a, 0x05, 'x'}}},
		"no files": {Services: []string{"acme.v1.ImageService"}},
	} {
		answer := f.register(t, a)
		require.Empty(t, answer.Types, name)
		require.Len(t, answer.Refusals, len(a.Services), name)
		for i, r := range answer.Refusals {
			require.Equal(t, a.Services[i], r.Name)
			require.True(t, r.Service)
			require.NotEmpty(t, r.Message)
		}
	}
	_, ok := f.cfg.Catalogue.Type("acme.v1.ImageService.Resize")
	require.True(t, ok, "what was known stays")
}

func TestRequestsThatAreNoneAreDropped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.request(t,
		broker.Delivery{Body: []byte{0x0a, 0x05, 'x'}}, broker.Delivery{}, encode(t, &brokerv1.WorkerRequest{RequestId: "nobody"}),
		encode(t, &brokerv1.WorkerRequest{Worker: &brokerv1.WorkerIdentity{WorkerId: "w"}, RequestId: "of a later version"}),
		request(t, acme(t, "1")),
	)
	require.Len(t, f.told.messages, 1, "the one that is one")
}

func TestRegistrationWaitsForItsQueues(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.topology.err = errors.New("no connection")
	f.request(t, request(t, acme(t, "1")))
	require.Empty(t, f.told.messages, "no answer: the request comes again")
	_, known := f.cfg.Catalogue.Type("acme.v1.ImageService.Resize")
	require.False(t, known, "nobody can submit to a queue that does not exist")
}

func TestWorkerThatCantBeToldRepeatsItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.told.err = errors.New("no connection")
	f.request(t, request(t, acme(t, "1")))
	f.told.err = nil
	f.register(t, acme(t, "1"))
}

func TestStoreThatIsDownStopsNoRegistration(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.set(fmt.Errorf("%w: locked", store.ErrUnavailable))
	f := newFixture(t, s)
	require.Len(t, f.register(t, acme(t, "1")).Types, 1)
	f.run(t)
	require.False(t, f.Loaded(), "other types may be known to the store")
	s.set(nil)
	brokertest.Eventually(t, patience, func() bool {
		bundles, err := s.Bundles(t.Context())
		require.NoError(t, err)
		return len(bundles) == 1
	})
	brokertest.Eventually(t, patience, f.Loaded)

	// After a restart it is known.
	restarted := newFixture(t, s)
	_, known := restarted.cfg.Catalogue.Type("acme.v1.ImageService.Resize")
	require.False(t, known)
	restarted.run(t)
	brokertest.Eventually(t, patience, restarted.Loaded)
	_, known = restarted.cfg.Catalogue.Type("acme.v1.ImageService.Resize")
	require.True(t, known)
	require.Equal(t, 1, restarted.topology.calls, "its queues are declared")
}

func TestRestoredBundleYieldsToANewerOne(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	newFixture(t, s).register(t, acme(t, "1"))
	f := newFixture(t, s)
	f.register(t, acme(t, "2"))
	f.load(t.Context())
	_, ok := f.cfg.Catalogue.Bundle(acme(t, "2").ID())
	require.True(t, ok)
	_, ok = f.cfg.Catalogue.Bundle(acme(t, "1").ID())
	require.False(t, ok)
}

func TestUnusableBundleHidesNoOther(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	require.NoError(t, s.PutBundle(t.Context(), store.BundleRecord{Digest: "d", Services: []string{"a.v1.A"}, Defines: []string{"a.v1.A"}, Files: [][]byte{{0x0a, 5}}, Time: time.Now().Add(-time.Hour)}))
	newFixture(t, s).register(t, acme(t, "1"))
	f := newFixture(t, s)
	f.load(t.Context())
	require.True(t, f.Loaded())
	_, known := f.cfg.Catalogue.Type("acme.v1.ImageService.Resize")
	require.True(t, known)
}

func beat(id string, goodbye bool, types ...string) *brokerv1.Heartbeat {
	h := &brokerv1.Heartbeat{Worker: &brokerv1.WorkerIdentity{WorkerId: id}, Goodbye: goodbye}
	for _, name := range types {
		h.Types = append(h.Types, &brokerv1.TypeLoad{Type: name})
	}
	return h
}

func TestHeartbeatsAreAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.register(t, acme(t, "1"))
	require.NoError(t, f.types.Refresh(t.Context()))
	const known = "acme.v1.ImageService.Resize"
	for name, c := range map[string]struct {
		types []string
		again bool
		told  int
	}{
		"known":             {[]string{known}, false, 1},
		"unknown":           {[]string{"acme.v1.Nope.Nothing"}, true, 0},
		"one of them":       {[]string{known, "acme.v1.Nope.Nothing"}, true, 1},
		"not yet any types": {nil, false, 0},
	} {
		before := len(f.told.messages)
		require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("w-2", false, c.types...))}), name)
		require.Len(t, f.told.messages, before+1, name)
		require.Equal(t, "w-2", f.told.workers[before])
		m := f.told.messages[before]
		require.Equal(t, "g-1", m.GatewayId)
		require.NotNil(t, m.Time)
		answer := m.GetHeartbeat()
		require.Equal(t, c.again, answer.RegisterAgain, name)
		require.Len(t, answer.Types, c.told, name)
		for _, p := range answer.Types {
			require.Equal(t, known, p.Type)
			require.Equal(t, catalogue.DefaultTimeout, p.Timeout.AsDuration())
			require.EqualValues(t, 1234, p.MaxResultBytes)
		}
	}
}

func TestWorkersKeepTheirPoliciesUntilOverridesAreKnown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.register(t, acme(t, "1"))
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("w-2", false, "acme.v1.ImageService.Resize"))}))
	answer := f.told.messages[len(f.told.messages)-1].GetHeartbeat()
	require.False(t, answer.RegisterAgain)
	require.Empty(t, answer.Types)
}

func TestHeartbeatsComeInBatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.told.err = errors.New("no connection")
	batch := []broker.Delivery{{Body: []byte{0x0a, 0x05, 'x'}}, encode(t, &brokerv1.Heartbeat{})}
	for i := range 50 {
		batch = append(batch, encode(t, beat(fmt.Sprint(i), false)))
	}
	require.NoError(t, f.Beats().Handle(t.Context(), batch))
	require.Len(t, f.told.workers, 50)
	require.Len(t, f.control.beats, 50)
}

func TestGoodbye(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("a", false)), encode(t, beat("b", false))}))
	require.Len(t, f.told.messages, 2)
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("a", true))}))
	require.Len(t, f.told.messages, 2, "who goes reads no more")
	require.True(t, f.control.beats[2].Goodbye)
}

func TestWorkersAreToldWhatTheyDontKnowToBeCancelled(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.control.news = &brokerv1.CancellationBatch{After: 3, Position: 5, Complete: true}
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("a", false)), encode(t, beat("a", true))}))
	require.Equal(t, []string{"a", "a"}, f.told.workers)
	require.NotNil(t, f.told.messages[0].GetHeartbeat())
	require.True(t, proto.Equal(f.control.news, f.told.messages[1].GetCancellations()))
	require.Equal(t, "g-1", f.told.messages[1].GatewayId)
}

func TestSyncsAreAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	sync := func(worker string) broker.Delivery {
		return encode(t, &brokerv1.WorkerRequest{
			Worker: &brokerv1.WorkerIdentity{WorkerId: worker}, RequestId: "r",
			Request: &brokerv1.WorkerRequest_Sync{Sync: &brokerv1.SyncRequest{Types: []string{resize}}},
		})
	}
	f.control.syncErr = errors.New("not now")
	require.NoError(t, f.Requests().Handle(t.Context(), []broker.Delivery{sync("a"), sync("a"), sync("b")}))
	f.run(t)
	brokertest.Eventually(t, patience, func() bool { return len(f.control.asked()) == 2 })
	// One that could not be answered may be repeated.
	brokertest.Eventually(t, patience, func() bool {
		require.NoError(t, f.Requests().Handle(t.Context(), []broker.Delivery{sync("a")}))
		return len(f.control.asked()) > 2
	})
}

func TestTooManySyncsAreDropped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	for i := range maxSyncs + 10 {
		f.askSync(&brokerv1.WorkerRequest{Worker: &brokerv1.WorkerIdentity{WorkerId: fmt.Sprint(i)}})
	}
	require.Len(t, f.syncs, maxSyncs)
	require.Len(t, f.syncing, maxSyncs)
}

// TestOverABroker has a worker's request answered through real queues.
func TestOverABroker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: quiet()}
	require.NoError(t, cfg.Validate())
	var r *Registry
	consume := broker.NewConnection(cfg, "consume", func(topology *broker.Topology) error { return r.Declare(topology) })
	publish := broker.NewConnection(cfg, "publish", nil)
	publisher := broker.NewPublisher(publish)
	s := newStore(t)
	newFixture(t, s).register(t, announcement(t, "demo.v1.FaultService"))
	known := catalogue.New()
	types := tasktypes.New(known, s, quiet())
	r = New(Config{
		GatewayID: "g-1", Names: cfg.Names(), Catalogue: known, Types: types, Starts: &starts{}, Control: &control{}, Store: s,
		Controller: publisher, Topology: consume, MaxResultBytes: 1234, Logger: quiet(),
	})
	consume.Subscribe(r.Requests())
	consume.Subscribe(r.Beats())
	answers := make(chan *brokerv1.ControlMessage, 10)
	workerID := task.NewID()
	consume.Subscribe(broker.Subscription{
		Queue: cfg.Names().ControlQueue(workerID, 1),
		Declare: func(topology *broker.Topology) error {
			return topology.DeclareControl(workerID, 1, []string{"demo.v1.ImageService.Thumbnail"})
		},
		Handle: func(_ context.Context, batch []broker.Delivery) error {
			for _, d := range batch {
				m := &brokerv1.ControlMessage{}
				if err := proto.Unmarshal(d.Body, m); err != nil {
					return err
				}
				answers <- m
			}
			return nil
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context){consume.Run, publish.Run, r.Run, types.Run} {
		running.Go(func() { run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	ready, cancelReady := context.WithTimeout(t.Context(), patience)
	defer cancelReady()
	require.NoError(t, publisher.AwaitReady(ready))

	a := announcement(t, "demo.v1.ImageService")
	ask := &brokerv1.WorkerRequest{
		Worker: &brokerv1.WorkerIdentity{WorkerId: workerID}, RequestId: "r-1",
		Request: &brokerv1.WorkerRequest_Registration{Registration: &brokerv1.Registration{Services: a.Services, Files: a.Files}},
	}
	// Its control queue may not be bound yet, nor the requests' queue declared.
	var answer *brokerv1.ControlMessage
	brokertest.Eventually(t, patience, func() error {
		if err := publisher.PublishRequest(ready, ask); err != nil {
			return err
		}
		select {
		case answer = <-answers:
			return nil
		case <-time.After(time.Second):
			return errors.New("no answer")
		}
	})
	require.Len(t, answer.GetRegistration().GetTypes(), 2)
	// The queues exist, and those of what the store knew.
	queues := map[string]bool{}
	for _, q := range b.Queues(t) {
		queues[q.Name] = true
	}
	for _, p := range answer.GetRegistration().GetTypes() {
		require.True(t, queues[cfg.Names().Work(p.Type)], p.Type)
	}
	require.True(t, queues[cfg.Names().Work("demo.v1.FaultService.Delay")])

	require.NoError(t, publisher.PublishHeartbeat(ready, beat(workerID, false, answer.GetRegistration().Types[0].Type)))
	brokertest.Eventually(t, patience, func() bool {
		select {
		case m := <-answers:
			return m.GetHeartbeat() != nil && !m.GetHeartbeat().RegisterAgain
		default:
			return false
		}
	})

	// A policy that has changed reaches all workers of its type at once.
	override(t, s, "demo.v1.ImageService.Thumbnail", &taskv1.TaskOptions{Timeout: durationpb.New(time.Minute)}, "timeout")
	require.NoError(t, types.Refresh(t.Context()))
	require.NoError(t, r.TellWorkers(t.Context(), "demo.v1.ImageService.Thumbnail"))
	brokertest.Eventually(t, patience, func() bool {
		select {
		case m := <-answers:
			changed := m.GetHeartbeat().GetTypes()
			return len(changed) == 1 && changed[0].Type == "demo.v1.ImageService.Thumbnail" && changed[0].Timeout.AsDuration() == time.Minute
		default:
			return false
		}
	})
}

package registry

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// release is a version of a service: its methods take a message with a field of
// the version's name.
func release(t testing.TB, version string, methods ...string) catalogue.Announcement {
	t.Helper()
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String("Echoes")}
	for _, m := range methods {
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name: &m, InputType: proto.String(".acme.v1.Echo"), OutputType: proto.String(".acme.v1.Echo"),
		})
	}
	file, err := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: proto.String("acme/v1/echo.proto"), Package: proto.String("acme.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Echo"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: &version, Number: proto.Int32(1),
			Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}}}},
		Service: []*descriptorpb.ServiceDescriptorProto{service},
	})
	require.NoError(t, err)
	return catalogue.Announcement{Services: []string{"acme.v1.Echoes"}, Files: [][]byte{file}}
}

// versions says by which version each method is defined.
func (f *fixture) versions() map[string]string {
	out := make(map[string]string)
	for _, t := range f.cfg.Catalogue.Types() {
		out[t.Method] = string(t.Input.Fields().Get(0).Name())
	}
	return out
}

// registerStarted has a worker register that was started at a time.
func (f *fixture) registerStarted(t testing.TB, start time.Time, a catalogue.Announcement) *brokerv1.RegistrationAnswer {
	t.Helper()
	f.request(t, encode(t, &brokerv1.WorkerRequest{
		Worker:  &brokerv1.WorkerIdentity{WorkerId: "w-1", StartTime: timestamppb.New(start)},
		Request: &brokerv1.WorkerRequest_Registration{Registration: &brokerv1.Registration{Services: a.Services, Files: a.Files}},
	}))
	return f.told.messages[len(f.told.messages)-1].GetRegistration()
}

// beatOf sends a worker's heartbeat and says whether it is to register again.
func (f *fixture) beatOf(t testing.TB, types []*brokerv1.TypePolicy) bool {
	t.Helper()
	var names []string
	for _, p := range types {
		names = append(names, p.Type)
	}
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("w-1", false, names...))}))
	return f.told.messages[len(f.told.messages)-1].GetHeartbeat().RegisterAgain
}

// puts is a store that notes what is put.
type puts struct {
	store.Store
	mu  sync.Mutex
	put []string
}

func (p *puts) PutBundle(ctx context.Context, b store.BundleRecord) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put = append(p.put, b.Digest)
	return p.Store.PutBundle(ctx, b)
}

func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	v1, v2 := release(t, "v1", "A", "B"), release(t, "v2", "A", "C")
	old, recent := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	want := map[string]string{"A": "v2", "B": "v1", "C": "v2"}
	for name, newFirst := range map[string]bool{"the old one first": false, "the new one first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			noted := &puts{Store: s.Store}
			s.Store = noted
			f := newFixture(t, s)
			var types1, types2 []*brokerv1.TypePolicy
			if newFirst {
				types2 = f.registerStarted(t, recent, v2).Types
				types1 = f.registerStarted(t, old, v1).Types
			} else {
				types1 = f.registerStarted(t, old, v1).Types
				types2 = f.registerStarted(t, recent, v2).Types
			}
			require.Len(t, types1, 2)
			require.Len(t, types2, 2)
			require.Len(t, noted.put, 2)
			require.Equal(t, want, f.versions())

			// Side by side they don't take turns, whether they beat or connect again.
			for range 3 {
				require.False(t, f.beatOf(t, types1))
				require.False(t, f.beatOf(t, types2))
				require.Len(t, f.registerStarted(t, old, v1).Types, 2)
				require.Len(t, f.registerStarted(t, recent, v2).Types, 2)
				require.Equal(t, want, f.versions())
			}
			require.Len(t, noted.put, 2)

			restarted := newFixture(t, s)
			restarted.load(t.Context())
			require.Equal(t, want, restarted.versions())
			require.False(t, restarted.beatOf(t, types1))
			restarted.registerStarted(t, old, v1)
			require.Equal(t, want, restarted.versions())
			require.Len(t, noted.put, 2)
		})
	}
}

func TestGoingBackToAnOlderVersion(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := newFixture(t, s)
	v1, v2 := release(t, "v1", "A"), release(t, "v2", "A", "B")
	f.registerStarted(t, time.Now().Add(-time.Hour), v1)
	f.registerStarted(t, time.Now().Add(-time.Minute), v2)
	f.registerStarted(t, time.Now(), v1)
	want := map[string]string{"A": "v1", "B": "v2"}
	require.Equal(t, want, f.versions())
	restarted := newFixture(t, s)
	restarted.load(t.Context())
	require.Equal(t, want, restarted.versions())
}

func TestAWorkerWhoseClockIsAhead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.registerStarted(t, time.Now().Add(24*time.Hour), release(t, "v1", "A"))
	// One that is started later, by a better clock.
	f.registerStarted(t, time.Now().Add(time.Microsecond), release(t, "v2", "A"))
	require.Equal(t, map[string]string{"A": "v2"}, f.versions())
}

func TestBundlesAreStoredInTheOrderOfTheirAnnouncement(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	noted := &puts{Store: s.Store}
	s.Store = noted
	s.set(fmt.Errorf("%w: locked", store.ErrUnavailable))
	f := newFixture(t, s)
	start := time.Now().Add(-time.Hour)
	var want []string
	for i := range 10 {
		a := release(t, fmt.Sprintf("v%d", i), "A", fmt.Sprintf("M%d", i))
		f.registerStarted(t, start.Add(time.Duration(i)*time.Second), a)
		want = append(want, a.ID())
	}
	// Many workers of one kind start meanwhile.
	for i := range 5 {
		f.registerStarted(t, start.Add(time.Duration(20+i)*time.Second), release(t, "v0", "A", "M0"))
	}
	want = append(want[1:], want[0])
	s.set(nil)
	f.save(t.Context())
	require.Equal(t, want, noted.put)
	require.Empty(t, f.unsaved)
	restarted := newFixture(t, s)
	restarted.load(t.Context())
	require.Equal(t, f.versions(), restarted.versions())
}

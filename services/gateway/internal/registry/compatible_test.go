package registry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// shape is a version of a service whose message has fields of these numbers, and
// reserves some.
func shape(t testing.TB, fields []int32, reserved ...int32) catalogue.Announcement {
	t.Helper()
	return shapeOf(t, "acme.v1", fields, reserved...)
}

func shapeOf(t testing.TB, pkg string, fields []int32, reserved ...int32) catalogue.Announcement {
	t.Helper()
	message := &descriptorpb.DescriptorProto{Name: proto.String("Echo")}
	for _, n := range fields {
		message.Field = append(message.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(fmt.Sprint("f", n)), Number: proto.Int32(n),
			Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
	}
	for _, n := range reserved {
		message.ReservedRange = append(message.ReservedRange, &descriptorpb.DescriptorProto_ReservedRange{Start: proto.Int32(n), End: proto.Int32(n + 1)})
	}
	name := "." + pkg + ".Echo"
	file, err := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: proto.String(pkg + "/echo.proto"), Package: &pkg, Syntax: proto.String("proto3"), MessageType: []*descriptorpb.DescriptorProto{message},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Echoes"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Say"), InputType: &name, OutputType: &name},
		}}},
	})
	require.NoError(t, err)
	return catalogue.Announcement{Services: []string{pkg + ".Echoes"}, Files: [][]byte{file}}
}

// loadedFixture has loaded what its store has.
func loadedFixture(t testing.TB, s *outage) *fixture {
	t.Helper()
	f := newFixture(t, s)
	require.NoError(t, f.types.Refresh(t.Context()))
	f.load(t.Context())
	require.True(t, f.Loaded())
	return f
}

func requireRefused(t testing.TB, a *brokerv1.RegistrationAnswer, texts ...string) {
	t.Helper()
	require.Empty(t, a.Types)
	require.NotEmpty(t, a.Refusals)
	for _, text := range texts {
		require.Contains(t, a.Refusals[0].Message, text)
	}
}

func (f *fixture) inForce(t testing.TB) int {
	t.Helper()
	known, ok := f.cfg.Catalogue.Type("acme.v1.Echoes.Say")
	require.True(t, ok)
	return known.Input.Fields().Len()
}

func TestAnIncompatibleVersionIsRefused(t *testing.T) {
	t.Parallel()
	f := loadedFixture(t, newStore(t))
	start := time.Now().Add(-time.Hour)
	require.Len(t, f.registerStarted(t, start, shape(t, []int32{1, 2, 3})).Types, 1)
	queues := f.topology.calls
	both := shape(t, []int32{1})
	other := shapeOf(t, "acme.v2", []int32{1})
	both.Services, both.Files = append(both.Services, other.Services...), append(both.Files, other.Files...)

	answer := f.registerStarted(t, start.Add(time.Minute), both)
	requireRefused(t, answer, "acme.v1/echo.proto", "acme.v1.Echo.f2", "acme.v1.Echo.f3", catalogue.RuleFieldDeleted, "allow_incompatible", "UpdateTaskType")
	require.Equal(t, "acme.v1.Echoes.Say", answer.Refusals[0].Name)
	require.False(t, answer.Refusals[0].Service)
	require.Len(t, answer.Refusals, 3, "both services are refused: a worker is not to serve half of a version")
	require.Equal(t, "acme.v2.Echoes", answer.Refusals[2].Name)
	require.True(t, answer.Refusals[2].Service)
	require.Contains(t, answer.Refusals[2].Message, "acme.v1.Echoes.Say")
	require.Equal(t, 3, f.inForce(t))
	require.Equal(t, queues, f.topology.calls, "it gets no queues")
	require.Equal(t, []string{"acme.v1.Echoes"}, f.cfg.Catalogue.Services())

	require.Empty(t, f.registerStarted(t, start.Add(2*time.Minute), shape(t, []int32{1, 4}, 2, 3)).Refusals, "what was deleted is reserved")
	require.Equal(t, 2, f.inForce(t))
}

// Workers of both versions start, stop and start again during a deploy and after it.
func TestOldAndNewWorkersTogetherAfterAnAllowedChange(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := loadedFixture(t, s)
	start := time.Now().Add(-time.Hour)
	v1, v2, v3 := shape(t, []int32{1}), shape(t, []int32{1, 2}), shape(t, []int32{1, 2, 3})
	minute := 0
	register := func(a catalogue.Announcement) *brokerv1.RegistrationAnswer {
		t.Helper()
		minute++
		return f.registerStarted(t, start.Add(time.Duration(minute)*time.Minute), a)
	}
	for _, a := range []catalogue.Announcement{v1, v2, v1, v2, v3, v1, v3} {
		require.Len(t, register(a).Types, 1)
	}
	require.Equal(t, 3, f.inForce(t))

	// A gateway that has just started knows them too, and that they went together.
	f = loadedFixture(t, s)
	require.Equal(t, 3, f.inForce(t))
	require.Len(t, f.cfg.Catalogue.Types(), 1)
	require.Len(t, register(v2).Types, 1, "it went back")
	require.Equal(t, 2, f.inForce(t))
	f = loadedFixture(t, s)
	require.Equal(t, 2, f.inForce(t))
	require.Len(t, register(v1).Types, 1)

	// One that was never let in is a change like any other.
	requireRefused(t, register(shape(t, []int32{2})), catalogue.RuleFieldDeleted)
}

// A worker that was started before those whose version is in force, and is heard only now.
func TestAnOlderVersionThatIsHeardLater(t *testing.T) {
	t.Parallel()
	f := loadedFixture(t, newStore(t))
	start := time.Now().Add(-time.Hour)
	f.registerStarted(t, start, shape(t, []int32{1, 2}))
	require.Len(t, f.registerStarted(t, start.Add(-time.Minute), shape(t, []int32{1})).Types, 1)
	require.Equal(t, 2, f.inForce(t))
	requireRefused(t, f.registerStarted(t, start.Add(-time.Minute), shape(t, []int32{1, 3})), "acme.v1.Echo.f3")
}

func TestOldVersionsAreForgotten(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := loadedFixture(t, s)
	start := time.Now().Add(-time.Hour)
	var fields []int32
	for i := range int32(2 * maxVersions) {
		fields = append(fields, i+1)
		require.Empty(t, f.registerStarted(t, start.Add(time.Duration(i)*time.Second), shape(t, fields)).Refusals)
	}
	records, err := s.Bundles(t.Context())
	require.NoError(t, err)
	require.Len(t, records, maxVersions)
	for _, f := range []*fixture{f, loadedFixture(t, s)} {
		require.Empty(t, f.registerStarted(t, start.Add(time.Hour/2), shape(t, fields[:maxVersions+1])).Refusals)
		requireRefused(t, f.registerStarted(t, start.Add(time.Hour/2), shape(t, fields[:maxVersions-1])), catalogue.RuleFieldDeleted)
	}
}

func TestAnOperatorAllowsAnIncompatibleVersion(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := loadedFixture(t, s)
	var log bytes.Buffer
	f.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	start := time.Now().Add(-time.Hour)
	f.registerStarted(t, start, shape(t, []int32{1, 2}))
	requireRefused(t, f.registerStarted(t, start.Add(time.Minute), shape(t, []int32{1})))

	allow := func(version int64, allowed bool) {
		t.Helper()
		options, err := proto.Marshal(&taskv1.TaskOptions{AllowIncompatible: &allowed})
		require.NoError(t, err)
		require.NoError(t, s.PutOverride(t.Context(), store.Override{
			TaskType: "acme.v1.Echoes.Say", Version: version, Options: options, Paths: []string{"allow_incompatible"}, Reason: "drained", Time: time.Now(),
		}))
		require.NoError(t, f.types.Refresh(t.Context()))
	}
	allow(1, true)
	require.Len(t, f.registerStarted(t, start.Add(2*time.Minute), shape(t, []int32{1})).Types, 1)
	require.Equal(t, 1, f.inForce(t))
	require.Contains(t, log.String(), "not wire-compatible were let in")
	require.Contains(t, log.String(), "acme.v1.Echo.f2")

	// What was let in stays so, the next one is refused again.
	allow(2, false)
	require.Len(t, f.registerStarted(t, start.Add(3*time.Minute), shape(t, []int32{1})).Types, 1)
	requireRefused(t, f.registerStarted(t, start.Add(4*time.Minute), shape(t, []int32{3})))
}

// What is not known yet must not let anything slip through, and a store that does not
// work must not stop the work.
func TestComparingBeforeTheStoreWasRead(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	start := time.Now().Add(-time.Hour)
	loadedFixture(t, s).registerStarted(t, start, shape(t, []int32{1, 2}))

	f := newFixture(t, s)
	f.setLoading(true)
	f.request(t, requestOf(t, "w", "r", shape(t, []int32{1})))
	require.Empty(t, f.told.messages, "it is to ask again")
	f.load(t.Context())
	f.request(t, requestOf(t, "w", "r", shape(t, []int32{1})))
	require.Empty(t, f.told.messages, "whether operators allow it is not known")
	require.NoError(t, f.types.Refresh(t.Context()))
	f.request(t, requestOf(t, "w", "r", shape(t, []int32{1})))
	requireRefused(t, f.told.messages[0].GetRegistration())

	f = newFixture(t, s)
	f.setLoading(true)
	s.set(fmt.Errorf("%w: locked", store.ErrUnavailable))
	f.load(t.Context())
	require.Empty(t, f.registerStarted(t, start.Add(time.Minute), shape(t, []int32{1})).Refusals)
}

// Of two that don't go together and come at once, one is let in.
func TestIncompatibleVersionsAtOnce(t *testing.T) {
	t.Parallel()
	f := loadedFixture(t, newStore(t))
	start := time.Now().Add(-time.Hour)
	done := make(chan []*brokerv1.Refusal)
	versions := []catalogue.Announcement{shape(t, []int32{1, 2}), shape(t, []int32{2, 3}), shape(t, []int32{3, 4}), shape(t, []int32{4, 5})}
	for _, a := range versions {
		bundle, err := f.bundle(a)
		require.NoError(t, err)
		go func() {
			refused, _ := f.admit(context.Background(), bundle, start)
			done <- refused
		}()
	}
	accepted := 0
	for range versions {
		if len(<-done) == 0 {
			accepted++
		}
	}
	require.Equal(t, 1, accepted)
}

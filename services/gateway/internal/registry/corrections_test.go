package registry

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// shows is the heartbeat of a worker that has applied a version of resize's policy.
func shows(t testing.TB, v *brokerv1.PolicyVersion) broker.Delivery {
	t.Helper()
	return encode(t, &brokerv1.Heartbeat{
		Worker: &brokerv1.WorkerIdentity{WorkerId: "w-1"}, Types: []*brokerv1.TypeLoad{{Type: resize, Policy: v}},
	})
}

// last is the last policy of resize that a worker was told.
func (f *fixture) last() *brokerv1.TypePolicy {
	f.told.mu.Lock()
	defer f.told.mu.Unlock()
	return f.told.messages[len(f.told.messages)-1].GetHeartbeat().GetTypes()[0]
}

// beat has a heartbeat handled, and what it asks for done, without Run.
func (f *fixture) beat(t testing.TB, d broker.Delivery) {
	t.Helper()
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{d}))
	if beats := f.waitingCorrections(); len(beats) > 0 {
		f.correct(t.Context(), beats)
	}
}

func TestPoliciesHaveTheVersionsOfTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.control.version, f.control.stored = 3, 3
	require.Nil(t, f.register(t, acme(t, "1")).Types[0].Version, "while it is provisional")
	override(t, f.store, resize, &taskv1.TaskOptions{Timeout: durationpb.New(60e9)}, "timeout")
	require.NoError(t, f.types.Refresh(t.Context()))
	want := &brokerv1.PolicyVersion{Control: 3, Override: 1}
	require.True(t, proto.Equal(want, f.register(t, acme(t, "1")).Types[0].Version))
	f.beat(t, shows(t, nil))
	require.True(t, proto.Equal(want, f.last().Version))
	require.NoError(t, f.TellWorkers(t.Context(), resize))
	require.True(t, proto.Equal(want, f.last().Version))
	require.Zero(t, f.control.rereads)
}

// Another replica has set something: what a worker was told of that stays.
func TestAWorkerThatKnowsBetterIsNotCorrected(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.register(t, acme(t, "1"))
	require.NoError(t, f.types.Refresh(t.Context()))
	override(t, f.store, resize, &taskv1.TaskOptions{Timeout: durationpb.New(60e9)}, "timeout")
	f.control.version, f.control.stored = 3, 4
	before := len(f.told.messages)
	f.beat(t, shows(t, &brokerv1.PolicyVersion{Control: 4, Override: 1}))
	require.Equal(t, 1, f.control.rereads)
	require.Len(t, f.told.messages, before+1, "its answer alone")
	f.beat(t, shows(t, &brokerv1.PolicyVersion{Control: 4, Override: 1}))
	require.Equal(t, 1, f.control.rereads, "it is known now")
	require.True(t, proto.Equal(&brokerv1.PolicyVersion{Control: 4, Override: 1}, f.last().Version))
	require.Nil(t, f.last().Corrects)
}

func TestAWorkerOfAnotherStoreIsCorrected(t *testing.T) {
	t.Parallel()
	for name, shown := range map[string]*brokerv1.PolicyVersion{
		"all":      {Control: 9, Worker: 2, Override: 1},
		"control":  {Control: 9},
		"worker":   {Worker: 1},
		"override": {Override: 1},
	} {
		f := newFixture(t, newStore(t))
		f.register(t, acme(t, "1"))
		require.NoError(t, f.types.Refresh(t.Context()))
		f.control.version, f.control.stored = 3, 3
		// Not while the store can't say so.
		f.control.rereadErr = errors.New("no answer")
		f.beat(t, shows(t, shown))
		require.Equal(t, 1, f.control.rereads)
		require.Nil(t, f.last().Corrects, name)
		f.control.rereadErr = nil
		f.beat(t, shows(t, shown))
		require.True(t, proto.Equal(shown, f.last().Corrects), name)
		require.True(t, proto.Equal(&brokerv1.PolicyVersion{Control: 3}, f.last().Version))
		f.beat(t, shows(t, &brokerv1.PolicyVersion{Control: 3}))
		require.Nil(t, f.last().Corrects)
		require.Equal(t, 2, f.control.rereads)
	}
}

// Run sees to corrections, and heartbeats wait for none of them.
func TestCorrectionsAreMadeByRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.register(t, acme(t, "1"))
	require.NoError(t, f.types.Refresh(t.Context()))
	shown := &brokerv1.PolicyVersion{Control: 9}
	for range maxCorrections + 5 {
		require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{shows(t, shown)}))
	}
	require.Len(t, f.corrections, maxCorrections)
	f.run(t)
	brokertest.Eventually(t, patience, func() bool {
		f.told.mu.Lock()
		defer f.told.mu.Unlock()
		m := f.told.messages[len(f.told.messages)-1]
		return len(f.corrections) == 0 && proto.Equal(shown, m.GetHeartbeat().GetTypes()[0].Corrects)
	})
}

package worker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// told is a worker of one type that is not run, and hears what a test says.
type told struct {
	*Worker
	pool *pool
}

func newTold(t testing.TB) told {
	t.Helper()
	w, p := newWorker(t, Config{Logger: quiet()}), newPool(4, 4)
	w.pools = map[string]*pool{typeDelay: p}
	return told{w, p}
}

func versionOf(control, worker, override int64) *brokerv1.PolicyVersion {
	return &brokerv1.PolicyVersion{Control: control, Worker: worker, Override: override}
}

// say has the worker hear a policy, and gives what its heartbeat says of the type then.
func (w told) say(t testing.TB, p *brokerv1.TypePolicy) *brokerv1.TypeLoad {
	t.Helper()
	p.Type = typeDelay
	w.hear(&brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: &brokerv1.HeartbeatAnswer{Types: []*brokerv1.TypePolicy{p}}}})
	beat := w.heartbeat()
	require.Len(t, beat.Types, 1)
	return beat.Types[0]
}

// An answer that was made before a pause, and comes after it, does not end it.
func TestStaleAnswersDoNotEndAPause(t *testing.T) {
	t.Parallel()
	w := newTold(t)
	before := &brokerv1.TypePolicy{Version: versionOf(1, 0, 0)}
	require.False(t, w.say(t, before).Paused)
	paused := &brokerv1.TypePolicy{Version: versionOf(2, 0, 0), Pause: &brokerv1.Pause{Reason: "maintenance"}}
	require.True(t, w.say(t, paused).Paused)
	load := w.say(t, before)
	require.True(t, load.Paused, "a heartbeat's answer")
	require.True(t, proto.Equal(versionOf(2, 0, 0), load.Policy))
	types, err := w.accepted(&brokerv1.RegistrationAnswer{Types: []*brokerv1.TypePolicy{before}})
	require.NoError(t, err)
	require.Equal(t, []string{typeDelay}, types, "a stale answer to a registration is one still")
	require.Positive(t, w.pool.suspended(&w.clock))

	require.False(t, w.say(t, &brokerv1.TypePolicy{Version: versionOf(3, 0, 0)}).Paused)
	require.False(t, w.say(t, paused).Paused, "nor does one begin it again")
}

func TestPartsOfAPolicyAreComparedApart(t *testing.T) {
	t.Parallel()
	w := newTold(t)
	timeout := func(d time.Duration) *taskv1.TaskOptions { return &taskv1.TaskOptions{Timeout: durationpb.New(d)} }
	require.EqualValues(t, 7, w.say(t, &brokerv1.TypePolicy{Version: versionOf(1, 2, 1), Concurrency: 7, Options: timeout(time.Minute)}).Concurrency)

	// What is told to all workers says nothing of this one's slots.
	load := w.say(t, &brokerv1.TypePolicy{Version: versionOf(2, 0, 1), Concurrency: 9, Options: timeout(time.Minute), Pause: &brokerv1.Pause{Reason: "x"}})
	require.True(t, load.Paused)
	require.EqualValues(t, 7, load.Concurrency)
	require.True(t, proto.Equal(versionOf(2, 2, 1), load.Policy))

	// From who knows of newer slots of it, and options, and not of the pause.
	load = w.say(t, &brokerv1.TypePolicy{Version: versionOf(1, 3, 2), Concurrency: 5, Options: timeout(time.Hour)})
	require.True(t, load.Paused)
	require.EqualValues(t, 5, load.Concurrency)
	require.Equal(t, time.Hour, w.pool.rules.Load().Timeout())
	require.True(t, proto.Equal(versionOf(2, 3, 2), load.Policy))

	// And of options before those.
	w.say(t, &brokerv1.TypePolicy{Version: versionOf(2, 3, 1), Concurrency: 5, Options: timeout(time.Minute), Pause: &brokerv1.Pause{Reason: "x"}})
	require.Equal(t, time.Hour, w.pool.rules.Load().Timeout())

	// Options that can't be used do not count, all else does.
	load = w.say(t, &brokerv1.TypePolicy{Version: versionOf(3, 3, 3), Concurrency: 5, Options: timeout(-1)})
	require.False(t, load.Paused)
	require.Equal(t, time.Hour, w.pool.rules.Load().Timeout())
	require.True(t, proto.Equal(versionOf(3, 3, 2), load.Policy))
	// Who does not know what operators have set changes nothing.
	load = w.say(t, &brokerv1.TypePolicy{Provisional: true, Options: timeout(time.Second)})
	require.True(t, proto.Equal(versionOf(3, 3, 2), load.Policy))
	require.EqualValues(t, 5, load.Concurrency)
	require.Equal(t, time.Hour, w.pool.rules.Load().Timeout())
	// A gateway of an earlier version of the protocol says none, and is believed.
	load = w.say(t, &brokerv1.TypePolicy{Options: timeout(time.Second)})
	require.EqualValues(t, 4, load.Concurrency)
	require.True(t, proto.Equal(versionOf(3, 3, 2), load.Policy))
}

// The store was replaced: its versions begin anew.
func TestACorrectionCountsThoughItIsOlder(t *testing.T) {
	t.Parallel()
	w := newTold(t)
	w.say(t, &brokerv1.TypePolicy{Version: versionOf(5, 2, 3), Concurrency: 7, Pause: &brokerv1.Pause{Reason: "of old"}})
	anew := &brokerv1.TypePolicy{Version: versionOf(1, 0, 0), Concurrency: 3}
	require.True(t, w.say(t, anew).Paused)
	anew.Corrects = versionOf(4, 2, 3)
	require.True(t, w.say(t, anew).Paused, "it is about what the worker has shown before")
	anew.Corrects = versionOf(5, 2, 3)
	load := w.say(t, anew)
	require.False(t, load.Paused)
	require.EqualValues(t, 3, load.Concurrency)
	require.True(t, proto.Equal(versionOf(1, 0, 0), load.Policy))
	// It counts once: a pause that was set since stays.
	require.True(t, w.say(t, &brokerv1.TypePolicy{Version: versionOf(2, 0, 0), Pause: &brokerv1.Pause{Reason: "new"}}).Paused)
	require.True(t, w.say(t, anew).Paused)
}

// Whatever the order in which any gateways' policies come, each part is the newest that
// was heard.
func TestPoliciesInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(4, 4)
		w := told{&Worker{cfg: Config{Logger: quiet()}, beatAsked: make(chan struct{}, 1)}, p}
		slotsForAll := rapid.SliceOfN(rapid.Int32Range(0, 9), 6, 6).Draw(t, "slots for all")
		own := rapid.SliceOfN(rapid.Int32Range(0, 9), 6, 6).Draw(t, "own slots")
		var newest brokerv1.PolicyVersion
		for range rapid.IntRange(1, 20).Draw(t, "policies") {
			v := versionOf(rapid.Int64Range(0, 5).Draw(t, "control"), rapid.Int64Range(0, 5).Draw(t, "worker"), rapid.Int64Range(0, 5).Draw(t, "override"))
			said := &brokerv1.TypePolicy{
				Type: typeDelay, Version: v, Concurrency: slotsForAll[v.Control],
				Options: &taskv1.TaskOptions{Timeout: durationpb.New(time.Duration(1+v.Override) * time.Second)},
			}
			if v.Worker > 0 {
				said.Concurrency = own[v.Worker]
			}
			if v.Control%2 == 1 {
				said.Pause = &brokerv1.Pause{Reason: "odd"}
			}
			require.NoError(t, w.applyPolicy(p, said))
			newest.Control, newest.Worker, newest.Override = max(newest.Control, v.Control), max(newest.Worker, v.Worker), max(newest.Override, v.Override)
			slots := slotsForAll[newest.Control]
			if newest.Worker > 0 {
				slots = own[newest.Worker]
			}
			if slots == 0 {
				slots = 4
			}
			require.EqualValues(t, slots, p.slots.size())
			require.Equal(t, newest.Control%2 == 1, p.suspended(&w.clock) > 0)
			require.Equal(t, time.Duration(1+newest.Override)*time.Second, p.rules.Load().Timeout())
			require.True(t, proto.Equal(&newest, p.version.Load()))
		}
	})
}

// The race over a real broker: what was said before the pause is heard after it, and
// starts nothing.
func TestStaleAnswersStartNothing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	g.Change(func() { g.Policies[typeDelay].Version = versionOf(1, 0, 0) })
	ok := func(context.Context) error { return nil }
	w, stop := run(t, &faults{delay: ok, fail: ok}, Config{AMQPURLs: []string{b.URL}})
	g.Await(t, g.Submit(t, typeDelay), task.PhaseSucceeded)
	var stale *brokerv1.TypePolicy
	g.Change(func() { stale = proto.CloneOf(g.Policies[typeDelay]) })
	g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) {
		p.Pause, p.Version = &brokerv1.Pause{Reason: "maintenance"}, versionOf(2, 0, 0)
	})
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return slotsOf(b, typeDelay).Paused })
	id := g.Submit(t, typeDelay)
	g.Say(t, w, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{
		Heartbeat: &brokerv1.HeartbeatAnswer{Types: []*brokerv1.TypePolicy{stale}},
	}})
	// It has heard that once it has heard what was said after it.
	g.Control(t, w, typeFail, func(p *brokerv1.TypePolicy) { p.Concurrency = 2 })
	beat := g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return slotsOf(b, typeFail).Concurrency == 2 })
	require.True(t, slotsOf(beat, typeDelay).Paused)
	require.EqualValues(t, 2, slotsOf(beat, typeDelay).Policy.GetControl())
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	require.Empty(t, g.Of(id))
	g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Pause, p.Version = nil, versionOf(3, 0, 0) })
	require.EqualValues(t, 1, g.Await(t, id, task.PhaseSucceeded).Key.Delivery, "it was never fetched before")
	stop()
	g.RequireSettled(t, typeDelay)
}

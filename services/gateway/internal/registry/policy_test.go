package registry

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const resize = "acme.v1.ImageService.Resize"

// override stores the first override of a task type.
func override(t testing.TB, s store.Store, taskType string, options *taskv1.TaskOptions, paths ...string) {
	t.Helper()
	b, err := proto.Marshal(options)
	require.NoError(t, err)
	require.NoError(t, s.PutOverride(t.Context(), store.Override{
		TaskType: taskType, Version: 1, Options: b, Paths: paths, Reason: "a test", Time: time.Now(),
	}))
}

func TestWorkersLearnThePolicyInForce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	answer := f.register(t, acme(t, "1"))
	require.True(t, proto.Equal(policy.Effective(nil, nil, nil), answer.Types[0].Options), "all defaults are told")

	override(t, f.store, resize, &taskv1.TaskOptions{
		Timeout: durationpb.New(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 9},
	}, "timeout", "retry.max_attempts")
	require.NoError(t, f.types.Refresh(t.Context()))
	want := policy.Effective(&taskv1.TaskOptions{Timeout: durationpb.New(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 9}}, nil, nil)
	told := map[string]*brokerv1.TypePolicy{"registration": f.register(t, acme(t, "1")).Types[0]}

	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("w-2", false, resize))}))
	told["heartbeat"] = f.told.messages[len(f.told.messages)-1].GetHeartbeat().Types[0]

	require.NoError(t, f.TellWorkers(t.Context(), resize))
	require.Equal(t, []string{resize}, f.told.types)
	m := f.told.messages[len(f.told.messages)-1]
	require.Equal(t, "g-1", m.GatewayId)
	require.NotNil(t, m.Time)
	require.False(t, m.GetHeartbeat().RegisterAgain)
	told["at once"] = m.GetHeartbeat().Types[0]
	for how, p := range told {
		require.Equal(t, resize, p.Type, how)
		require.Equal(t, time.Minute, p.Timeout.AsDuration(), how)
		require.EqualValues(t, 1234, p.MaxResultBytes, how)
		require.True(t, proto.Equal(want, p.Options), how)
	}
}

func TestPoliciesAreProvisionalUntilOverridesAreKnown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	override(t, f.store, resize, &taskv1.TaskOptions{Timeout: durationpb.New(time.Minute)}, "timeout")
	require.True(t, f.register(t, acme(t, "1")).Types[0].Provisional)
	before := len(f.told.messages)
	require.NoError(t, f.TellWorkers(t.Context(), resize))
	require.Len(t, f.told.messages, before, "workers may know better")

	require.NoError(t, f.types.Refresh(t.Context()))
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("w-1", false, resize))}))
	told := f.told.messages[len(f.told.messages)-1].GetHeartbeat().Types
	require.Len(t, told, 1)
	require.False(t, told[0].Provisional)
	require.Equal(t, time.Minute, told[0].Timeout.AsDuration())
	require.False(t, f.register(t, acme(t, "1")).Types[0].Provisional)
}

func TestWorkersCantBeToldWithoutTheBroker(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.register(t, acme(t, "1"))
	require.NoError(t, f.types.Refresh(t.Context()))
	f.told.err = errors.New("no connection")
	require.ErrorIs(t, f.TellWorkers(t.Context(), resize), f.told.err)
	require.NoError(t, f.TellWorkers(t.Context(), "acme.v1.Nope.Nothing"), "which has none")
}

func start(t testing.TB, workerID, requestID string) broker.Delivery {
	t.Helper()
	return encode(t, &brokerv1.WorkerRequest{
		Worker: &brokerv1.WorkerIdentity{WorkerId: workerID}, RequestId: requestID,
		Request: &brokerv1.WorkerRequest_Start{Start: broker.StartRequestToProto(task.StartRequest{
			TaskID: task.NewID(), Type: resize, Run: 1, Attempt: 1, Delivery: 2, Copy: task.NewCopy(),
		})},
	})
}

func TestStartRequestsAreHandedOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	broken := encode(t, &brokerv1.WorkerRequest{
		Worker: &brokerv1.WorkerIdentity{WorkerId: "w"}, RequestId: "r", Request: &brokerv1.WorkerRequest_Start{Start: &brokerv1.StartRequest{}},
	})
	require.NoError(t, f.Requests().Handle(t.Context(), []broker.Delivery{
		start(t, "w-1", "r-1"), broken, request(t, acme(t, "1")), start(t, "w-2", "r-2"),
	}))
	require.Equal(t, []string{"w-1", "w-2"}, f.starts.workers, "no start waits for a registration")
	require.Equal(t, "r-1", f.starts.requests[0].RequestID)
	require.Equal(t, "r-2", f.starts.requests[1].RequestID)
	require.EqualValues(t, 2, f.starts.requests[1].Delivery)
	require.Empty(t, f.told.messages)
}

// Of several that come together a broken one costs no other.
func TestStartRequestsAreHandedOverTogether(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	one := func(id string) *brokerv1.StartRequest {
		return broker.StartRequestToProto(task.StartRequest{
			RequestID: id, TaskID: task.NewID(), Type: resize, Run: 1, Attempt: 1, Delivery: 2, Copy: task.NewCopy(),
		})
	}
	together := encode(t, &brokerv1.WorkerRequest{
		Worker: &brokerv1.WorkerIdentity{WorkerId: "w"}, RequestId: "all",
		Request: &brokerv1.WorkerRequest_Starts{Starts: &brokerv1.StartRequests{
			Requests: []*brokerv1.StartRequest{one("r-1"), {RequestId: "broken"}, one("r-2")},
		}},
	})
	require.NoError(t, f.Requests().Handle(t.Context(), []broker.Delivery{together}))
	require.Equal(t, []string{"w", "w"}, f.starts.workers)
	require.Equal(t, "r-1", f.starts.requests[0].RequestID)
	require.Equal(t, "r-2", f.starts.requests[1].RequestID)
}

func TestWorkersLearnWhatOperatorsHaveSet(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newStore(t))
	f.register(t, acme(t, "1"))
	require.NoError(t, f.types.Refresh(t.Context()))
	f.control.slots = map[string]int32{"": 7, "w-1": 7, "w-2": 9}
	require.EqualValues(t, 7, f.register(t, acme(t, "1")).Types[0].Concurrency)
	require.NoError(t, f.Beats().Handle(t.Context(), []broker.Delivery{encode(t, beat("w-2", false, resize))}))
	require.EqualValues(t, 9, f.told.messages[len(f.told.messages)-1].GetHeartbeat().Types[0].Concurrency)

	require.NoError(t, f.TellWorkers(t.Context(), resize))
	require.Equal(t, []string{resize}, f.told.types)
	require.EqualValues(t, 7, f.told.messages[len(f.told.messages)-1].GetHeartbeat().Types[0].Concurrency)
	// When one of them has its own, each is told what holds for it.
	f.control.apart = []string{"w-1", "w-2"}
	before := len(f.told.workers)
	require.NoError(t, f.TellWorkers(t.Context(), resize))
	require.Len(t, f.told.types, 1)
	told := map[string]int32{}
	for i, m := range f.told.messages[len(f.told.messages)-2:] {
		told[f.told.workers[before+i]] = m.GetHeartbeat().Types[0].Concurrency
	}
	require.Equal(t, map[string]int32{"w-1": 7, "w-2": 9}, told)

	f.control.unloaded = true
	require.True(t, f.policy("w-1", resize).Provisional)
	before = len(f.told.messages)
	require.NoError(t, f.TellWorkers(t.Context(), resize))
	require.Len(t, f.told.messages, before)
}

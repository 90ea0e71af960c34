package e2e

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// TestPromise6: no attempt starts after the expire time.
func TestPromise6(t *testing.T) {
	t.Parallel()
	const n = 300
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "2")
	p.startDeadletter(t)
	p.awaitReady(t, typeDelay)
	ids := p.submitMany(t, n, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{
			Type: typeDelay, Payload: payload(t, delay(20*time.Millisecond)),
			ExpireTime: timestamppb.New(time.Now().Add(time.Duration(100+rand.IntN(3000)) * time.Millisecond)),
		}
	})
	expired := 0
	for _, id := range ids {
		done := p.await(t, id)
		if done.State == taskv1.TaskState_TASK_STATE_DEAD_LETTERED {
			require.Equal(t, taskv1.Cause_CAUSE_EXPIRED, done.Cause)
			expired++
		} else {
			require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		}
		attempts := p.attempts(t, id)
		require.Len(t, p.recorder.of(id), len(attempts))
		for _, a := range attempts {
			require.True(t, a.StartTime.AsTime().Before(done.ExpireTime.AsTime()), "started %v, expired %v", a.StartTime.AsTime(), done.ExpireTime.AsTime())
		}
	}
	require.Positive(t, expired)
	require.Less(t, expired, n)
	p.awaitDead(t, `cause = "EXPIRED"`, expired, 30*time.Second)
}

// A wait for the next attempt holds nothing but the broker: it survives the
// worker, the gateway and the broker's restart, and the attempt comes in time.
func TestFaultBackoffSurvivesEverything(t *testing.T) {
	t.Parallel()
	const wait = 8 * time.Second
	node := brokertest.StartNode(t, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, node)
	p := newPlatform(t, b.URL)
	w := p.startWorker(t)
	p.awaitReady(t, typeFail)
	require.NoError(t, node.Sync(t.Context()))
	id := p.ask(t, typeFail, &demov1.FailRequest{Code: int32(codes.Unavailable), Reason: reasonOnce}, func(r *taskv1.SubmitTaskRequest) {
		r.Retry = quickly(2)
		r.Retry.Backoff.Kind = &taskv1.Backoff_Fixed{Fixed: durationpb.New(wait)}
	}).TaskId
	var due time.Time
	brokertest.Eventually(t, 10*time.Second, func() bool {
		r, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
		due = r.GetTask().GetNextAttemptTime().AsTime()
		return err == nil && r.Task.State == taskv1.TaskState_TASK_STATE_RETRYING && r.Task.Failure.GetCode() == int32(codes.Unavailable)
	})
	w.kill()
	p.gateway.kill()
	require.NoError(t, errors.Join(node.Kill(), node.Restart(t.Context())))
	p.startGateway(t)
	p.startWorker(t)
	p.awaitReady(t, typeFail)
	done := p.await(t, id)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
	require.Equal(t, []start{{1, 1}, {1, 2}}, p.recorder.of(id))
	late := done.StartTime.AsTime().Sub(due)
	require.Greater(t, late, -time.Millisecond, "the attempt came early")
	require.Less(t, late, wait, "the attempt came late")
}

func TestOperatorOverridesATaskType(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeFail)
	show := func() *adminv1.TaskType {
		r, err := p.admin.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: typeFail})
		require.NoError(t, err)
		return r.TaskType
	}
	require.EqualValues(t, 5, show().Effective.Retry.MaxAttempts)
	update := &adminv1.UpdateTaskTypeRequest{
		Name: typeFail, Reason: "fewer", Etag: show().Etag, Options: &taskv1.TaskOptions{Retry: quickly(2)},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry.max_attempts", "retry.backoff"}},
	}
	_, err := p.admin.UpdateTaskType(t.Context(), update)
	require.NoError(t, err)
	require.EqualValues(t, 2, show().Effective.Retry.MaxAttempts)
	_, err = p.admin.UpdateTaskType(t.Context(), update)
	require.Equal(t, codes.Aborted, status.Code(err))
	requireReason(t, err, "ETAG_MISMATCH")

	// Workers follow: an attempt that fails from now on is the last but one.
	brokertest.Eventually(t, 10*time.Second, func() bool {
		return p.await(t, p.submit(t, typeFail, fail(codes.Unavailable, "x")).TaskId).Attempt == 2
	})
	// A submission may ask for less and not for more.
	ask := func(attempts int32) error {
		_, err := p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(t, fail(codes.Unavailable, "x")), Retry: quickly(attempts)})
		return err
	}
	require.NoError(t, ask(1))
	err = ask(3)
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, "retry.max_attempts", badField(t, err))

	for name, bad := range map[string]struct {
		options *taskv1.TaskOptions
		path    string
		field   string
	}{
		"too many attempts": {&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{MaxAttempts: 5000}}, "retry.max_attempts", "retry.max_attempts"},
		"unknown field":     {&taskv1.TaskOptions{}, "retries", "update_mask"},
		"unknown code": {&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{
			{Codes: []string{"BROKEN"}, Action: taskv1.RetryAction_RETRY_ACTION_RETRY},
		}}}, "retry.rules", "retry.rules[0].codes[0]"},
	} {
		_, err := p.admin.UpdateTaskType(t.Context(), &adminv1.UpdateTaskTypeRequest{
			Name: typeFail, Reason: "r", Options: bad.options, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{bad.path}},
		})
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", name, err)
		require.Contains(t, badField(t, err), bad.field, name)
	}

	// Overrides outlive the gateway.
	p.gateway.kill()
	p.startGateway(t)
	brokertest.Eventually(t, 20*time.Second, func() bool {
		r, err := p.admin.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: typeFail})
		return err == nil && r.TaskType.Effective.Retry.MaxAttempts == 2
	})
}

// Policies of the broker's that would lose tasks are found, and make the gateway
// NOT_SERVING until they are gone.
func TestFaultTopologyThatLosesTasks(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	p := newPlatform(t, b.URL, withFlags("--management-url", b.ManagementURL))
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	const service = "warren.task.v1.TaskService"
	p.awaitHealth(t, service, true, 20*time.Second)
	check := func() *adminv1.CheckTopologyResponse {
		r, err := p.admin.CheckTopology(t.Context(), &adminv1.CheckTopologyRequest{})
		require.NoError(t, err)
		return r
	}
	brokertest.Eventually(t, 20*time.Second, func() bool {
		r := check()
		return r.Severity == adminv1.Severity_SEVERITY_OK && r.SelfTestTime != nil
	})
	b.SetPolicy(t, "cap", "^warren\\.dead$", "queues", map[string]any{"max-length": 10})
	brokertest.Eventually(t, 20*time.Second, func() bool { return check().Severity == adminv1.Severity_SEVERITY_LOSS })
	grave := check().Findings[0]
	require.Contains(t, grave.Subject, "warren.dead")
	require.NotEmpty(t, grave.Problem)
	p.awaitHealth(t, service, false, 10*time.Second)
	p.awaitHealth(t, "warren.topology", false, 10*time.Second)
}

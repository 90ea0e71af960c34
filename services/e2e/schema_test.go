package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// changedSet is the descriptor set of the demo services after an edit of a message.
func changedSet(t testing.TB, message string, edit func(*descriptorpb.DescriptorProto)) string {
	t.Helper()
	b, err := os.ReadFile(descriptorSet(t))
	require.NoError(t, err)
	set := &descriptorpb.FileDescriptorSet{}
	require.NoError(t, proto.Unmarshal(b, set))
	found := false
	for _, f := range set.File {
		for _, m := range f.MessageType {
			if f.GetPackage() == "demo.v1" && m.GetName() == message {
				edit(m)
				found = true
			}
		}
	}
	require.True(t, found)
	b, err = proto.Marshal(set)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "changed.binpb")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	return file
}

// startChanged starts a forwarding worker for the demo's server with these descriptors.
func (f *forwarding) startChanged(t testing.TB, descriptors string) *process {
	t.Helper()
	return startProcess(t, "changed", f.env, forwarderBinary,
		"--amqp-url", f.amqpURL, "--target", f.address, "--metrics-listen", "", "--descriptors", descriptors, "--service", "demo.v1.FaultService")
}

// A worker with a schema that readers of the one in force would misread is refused with
// file, message and field, and exits; compatible ones work beside the old, and so does
// what an operator allows.
func TestSchemas(t *testing.T) {
	t.Parallel()
	f := forward(t, demoTarget, nil)
	f.awaitReady(t, typeFail)

	bad := changedSet(t, "FailRequest", func(m *descriptorpb.DescriptorProto) {
		m.Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_INT64.Enum() // message
	})
	refused := f.startChanged(t, bad)
	select {
	case <-refused.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the refused worker has not ended")
	}
	require.NotZero(t, refused.cmd.ProcessState.ExitCode())
	for _, text := range []string{"demo/v1/fault_service.proto", "demo.v1.FailRequest", "message"} {
		require.NoError(t, refused.said(text))
	}
	// What was in force still is, over a restart of the gateway too.
	f.gateway.kill()
	f.startGateway(t)
	f.awaitReady(t, typeFail)
	failed := f.await(t, f.ask(t, typeFail, &demov1.FailRequest{Code: 9, Message: "no"}, func(r *taskv1.SubmitTaskRequest) { r.Retry = quickly(1) }).TaskId)
	require.Equal(t, "no", failed.Failure.GetMessage())

	good := changedSet(t, "FailRequest", func(m *descriptorpb.DescriptorProto) {
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String("hint"), Number: proto.Int32(100), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), JsonName: proto.String("hint"),
		})
	})
	beside := f.startChanged(t, good)
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(f.workers(t)) == 2 })
	workers := map[string]bool{}
	brokertest.Eventually(t, 20*time.Second, func() bool {
		done := f.await(t, f.ask(t, typeFail, &demov1.FailRequest{}, func(*taskv1.SubmitTaskRequest) {}).TaskId)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		attempts, err := f.tasks.ListTaskAttempts(t.Context(), &taskv1.ListTaskAttemptsRequest{TaskId: done.TaskId})
		require.NoError(t, err)
		require.Len(t, attempts.Attempts, 1)
		workers[attempts.Attempts[0].WorkerId] = true
		return len(workers) == 2
	})
	beside.terminate(t, 15*time.Second)

	f.update(t, typeFail, &taskv1.TaskOptions{AllowIncompatible: proto.Bool(true)}, "allow_incompatible")
	f.startChanged(t, bad)
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(f.workers(t)) == 2 })
}

// A type is retired only when nothing of it is left, is then unknown, also after a
// restart, and is brought back by a worker.
func TestRetireTaskType(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	w := p.startWorker(t)
	p.awaitReady(t, typeDelay)
	shown, err := p.admin.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: typeDelay})
	require.NoError(t, err)
	require.NotEmpty(t, shown.Schema.DescriptorSet)
	require.Contains(t, shown.Schema.String(), "service FaultService")
	done := p.await(t, p.submit(t, typeDelay, delay(0)).TaskId)

	retire := func() error {
		_, err := p.admin.RetireTaskType(t.Context(), &adminv1.RetireTaskTypeRequest{Name: typeDelay, Reason: "nobody uses it"})
		return err
	}
	err = retire()
	require.Equal(t, "TASK_TYPE_IN_USE", reasonOf(err), "%v", err)
	w.terminate(t, 15*time.Second)
	waiting := p.submit(t, typeDelay, delay(0))
	err = retire()
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
	_, err = p.tasks.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: waiting.TaskId, Reason: "in the way"})
	require.NoError(t, err)
	// The cancelled task's message is still in the queue: somebody has to take it.
	require.Equal(t, "TASK_TYPE_IN_USE", reasonOf(retire()))
	w = p.startWorker(t)
	brokertest.Eventually(t, 20*time.Second, func() error {
		q, err := p.admin.GetQueue(t.Context(), &adminv1.GetQueueRequest{TaskType: typeDelay})
		if err == nil && q.Queue.GetReady() > 0 {
			return status.Error(codes.FailedPrecondition, q.String())
		}
		return err
	})
	w.terminate(t, 15*time.Second)
	brokertest.Eventually(t, 30*time.Second, retire)

	unknown := func() bool {
		_, err := p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))})
		return status.Code(err) == codes.NotFound
	}
	require.True(t, unknown())
	p.gateway.kill()
	p.startGateway(t)
	brokertest.Eventually(t, 20*time.Second, unknown)
	kept, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: done.TaskId, View: taskv1.TaskView_TASK_VIEW_FULL})
	require.NoError(t, err)
	require.Equal(t, done.Payload.TypeUrl, kept.Task.Payload.TypeUrl)

	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, p.submit(t, typeDelay, delay(0)).TaskId).State)
}

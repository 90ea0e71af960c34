package e2e

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func delay(d time.Duration) *demov1.DelayRequest {
	return &demov1.DelayRequest{Delay: durationpb.New(d)}
}

func TestTaskFromSubmissionToResult(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeResult)

	accepted := p.submit(t, typeResult, &demov1.ThumbnailRequest{MaxWidth: 30, MaxHeight: 10})
	require.Equal(t, taskv1.TaskState_TASK_STATE_QUEUED, accepted.State)
	done := p.await(t, accepted.TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
	var result demov1.ThumbnailResponse
	require.NoError(t, done.Result.UnmarshalTo(&result))
	require.Len(t, result.Image, 300)
	require.EqualValues(t, 1, done.Attempt)
	require.NotNil(t, done.Payload)

	basic, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: accepted.TaskId})
	require.NoError(t, err)
	require.Nil(t, basic.Task.Payload, "BASIC leaves out the payload")
	require.Nil(t, basic.Task.Result, "BASIC leaves out the result")
	require.EqualValues(t, done.ResultSize, basic.Task.ResultSize)

	attempts := p.attempts(t, accepted.TaskId)
	require.Len(t, attempts, 1)
	require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_SUCCEEDED, attempts[0].Outcome)
	require.Equal(t, "e2e", attempts[0].WorkerVersion)
	require.False(t, attempts[0].Extra)
	require.Equal(t, []start{{1, 1}}, p.recorder.of(accepted.TaskId))
	brokertest.Eventually(t, 10*time.Second, func() bool { return b.Queue(t, "warren.work."+typeResult).Messages == 0 })
}

func TestFailureEndsDeadLettered(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeFail)

	failed := p.await(t, p.submit(t, typeFail, &demov1.FailRequest{Code: 5, Message: "no such thing"}).TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, failed.State)
	require.Equal(t, taskv1.Cause_CAUSE_PERMANENT_FAILURE, failed.Cause)
	require.EqualValues(t, 5, failed.Failure.Code)
	require.Equal(t, "no such thing", failed.Failure.Message)

	panicked := p.await(t, p.ask(t, typePanic, &demov1.PanicRequest{Message: "ouch"}, func(r *taskv1.SubmitTaskRequest) {
		r.Retry = quickly(2)
	}).TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, panicked.State)
	require.EqualValues(t, 13, panicked.Failure.Code)
	require.Contains(t, panicked.Failure.Message, "ouch")
	require.EqualValues(t, 2, panicked.Attempt)
	for _, a := range p.attempts(t, panicked.TaskId) {
		require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_PANICKED, a.Outcome)
	}
	require.Contains(t, panicked.Failure.Stack, "handlers).Panic", "the stack shows where")
	require.LessOrEqual(t, len(panicked.Failure.Stack), 8<<10)

	// Both messages are in the dead-letter queue, bodies untouched.
	brokertest.Eventually(t, 10*time.Second, func() bool { return b.Queue(t, "warren.dead").Messages == 2 })
	dead := b.Drain(t, "warren.dead")
	require.Equal(t, failed.TaskId, dead[0].MessageId)
	require.Equal(t, failed.Payload.Value, dead[0].Body)
	require.Equal(t, "PERMANENT_FAILURE", dead[0].Headers["x-opt-warren-cause"])
}

// A submission that is repeated under its id stays one task, started once.
func TestSubmissionIsRepeatedUnderItsID(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	r := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(100*time.Millisecond)), TaskId: task.NewID()}
	var g errgroup.Group
	for range 5 {
		g.Go(func() error {
			_, err := p.tasks.SubmitTask(t.Context(), r)
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, r.TaskId).State)
	again, err := p.tasks.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.True(t, again.AlreadySubmitted)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, again.Task.State)
	brokertest.Eventually(t, 10*time.Second, func() bool { return b.Queue(t, "warren.work."+typeDelay).Messages == 0 })
	require.Len(t, p.recorder.of(r.TaskId), 1)

	_, err = p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(time.Second)), TaskId: r.TaskId})
	require.Equal(t, codes.AlreadyExists, status.Code(err))
	requireReason(t, err, "TASK_ID_CONFLICT")
}

func TestStreamMessagesAndProgressAreWatched(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeStream)
	p.awaitReady(t, typeDelay)

	accepted := p.submit(t, typeStream, &demov1.ContactSheetRequest{Columns: 5, CellSize: 20})
	stream, err := p.tasks.WatchTask(t.Context(), &taskv1.WatchTaskRequest{
		TaskId: accepted.TaskId, ResumeToken: accepted.ResumeToken, View: taskv1.TaskView_TASK_VIEW_FULL,
	})
	require.NoError(t, err)
	var kinds []string
	var placed []int32
	for number := int64(1); ; number++ {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		e := m.GetEvent()
		require.Equal(t, number, e.GetNumber())
		kinds = append(kinds, strings.TrimPrefix(e.Kind.String(), "EVENT_KIND_"))
		if e.Message != nil {
			var c demov1.ContactSheetResponse
			require.NoError(t, e.Message.UnmarshalTo(&c))
			placed = append(placed, c.Placed)
		}
	}
	require.Equal(t, []string{"QUEUED", "STARTED", "MESSAGE", "MESSAGE", "MESSAGE", "MESSAGE", "MESSAGE", "SUCCEEDED"}, kinds)
	require.Equal(t, []int32{1, 2, 3, 4, 5}, placed)

	accepted = p.submit(t, typeDelay, delay(2*time.Second))
	stream, err = p.tasks.WatchTask(t.Context(), &taskv1.WatchTaskRequest{TaskId: accepted.TaskId})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.NotNil(t, first.GetSnapshot(), "a watch without token begins with a snapshot")
	var progress []float64
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if r := m.GetProgress(); r != nil {
			progress = append(progress, r.GetFraction())
		}
	}
	require.NotEmpty(t, progress)
	require.IsIncreasing(t, progress)
}

func TestWorkerMayStartBeforeAnyGateway(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	p := &platform{amqpURL: b.URL, recorder: newRecorder(t)}
	p.startWorker(t)
	// The worker finds neither exchanges nor a gateway at first.
	brokertest.Eventually(t, 10*time.Second, func() bool { return len(b.Queues(t)) == 0 })
	q := newPlatform(t, b.URL)
	q.awaitReady(t, typeDelay)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, q.await(t, q.submit(t, typeDelay, delay(0)).TaskId).State)
}

func TestCatalogueSurvivesARestartOfTheGateway(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	w := p.startWorker(t)
	p.awaitReady(t, typeDelay)
	w.terminate(t, 15*time.Second)
	p.gateway.terminate(t, 15*time.Second)
	p.startGateway(t)
	p.awaitReady(t, typeDelay)
	id := p.submit(t, typeDelay, delay(0)).TaskId
	p.startWorker(t)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
}

func TestDrainGivesBackWithoutSpendingAnAttempt(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	first := p.startWorker(t, "--grace", "200ms", "--concurrency", "4")
	p.awaitReady(t, typeDelay)
	var ids []string
	for range 10 {
		ids = append(ids, p.submit(t, typeDelay, delay(3*time.Second)).TaskId)
	}
	brokertest.Eventually(t, 10*time.Second, func() bool { return p.recorder.tasks() == 4 })
	first.terminate(t, 10*time.Second)
	p.startWorker(t, "--concurrency", "16")
	released := 0
	for _, id := range ids {
		done := p.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		require.EqualValues(t, 1, done.Attempt, "a drain spends no attempt")
		attempts := p.attempts(t, id)
		require.Len(t, attempts, len(p.recorder.of(id)))
		if len(attempts) == 1 {
			require.False(t, attempts[0].Extra, "what was only fetched by a drained worker was never started")
			continue
		}
		released++
		require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_RELEASED, attempts[0].Outcome)
		require.True(t, attempts[1].Extra)
	}
	require.Equal(t, 4, released)
}

func TestGatewayStopsGracefullyUnderAWatch(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	id := p.submit(t, typeDelay, delay(8*time.Second)).TaskId
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := p.tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{TaskId: id})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	p.gateway.terminate(t, 4*time.Second)
	for err == nil {
		_, err = stream.Recv()
	}
	requireReason(t, err, "SHUTTING_DOWN")
}

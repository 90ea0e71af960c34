package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// failing is a platform with a worker and a dead-letter service.
func failing(t *testing.T, flags ...string) (*platform, brokertest.Broker, *process) {
	t.Helper()
	p, b := onVHost(t)
	w := p.startWorker(t, flags...)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	return p, b, w
}

// idle is a platform whose task types are known and have no worker.
func idle(t *testing.T) (*platform, brokertest.Broker) {
	t.Helper()
	p, b, w := failing(t)
	w.terminate(t, 10*time.Second)
	return p, b
}

// requireDead demands that a task has ended with the cause, and that its dead
// letter says the same and has the payload byte for byte.
func (p *platform) requireDead(t *testing.T, id string, cause taskv1.Cause, sent proto.Message) (*taskv1.Task, *deadletterv1.DeadLetter) {
	t.Helper()
	ended := p.await(t, id)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, ended.State)
	require.Equal(t, cause, ended.Cause)
	d := p.deadLetter(t, id, open)
	require.Equal(t, cause, d.Cause)
	require.Equal(t, ended.Type, d.Type)
	require.Equal(t, ended.TraceId, d.TraceId)
	require.Equal(t, ended.Failure.GetCode(), d.Failure.GetCode())
	require.NotEmpty(t, d.Decision)
	require.Equal(t, string(payload(t, sent).Value), string(d.Message.Body))
	require.Equal(t, id, d.Message.Properties["message-id"])
	return ended, d
}

func TestCauseAttemptsExhausted(t *testing.T) {
	t.Parallel()
	p, _, _ := failing(t)
	sent := &demov1.FailRequest{Code: int32(codes.Unavailable), Message: "not now", Reason: "COLD"}
	id := p.ask(t, typeFail, sent, func(r *taskv1.SubmitTaskRequest) { r.Retry = quickly(3) }).TaskId
	ended, d := p.requireDead(t, id, taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED, sent)
	require.EqualValues(t, 3, ended.Attempt)
	require.Equal(t, "COLD", d.Reason)
	require.EqualValues(t, 3, d.Attempt)
	require.Equal(t, []start{{1, 1}, {1, 2}, {1, 3}}, p.recorder.of(id))
	attempts := p.attempts(t, id)
	require.Len(t, attempts, 3)
	told := d.Occurrences[0].Attempts
	require.Len(t, told, 3)
	for i, a := range attempts {
		require.EqualValues(t, i+1, a.Attempt)
		require.False(t, a.Extra)
		require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED, a.Outcome)
		require.NotEmpty(t, a.Decision)
		require.Equal(t, a.Decision, told[i].Decision)
		require.Equal(t, a.WorkerId, told[i].WorkerId)
		require.Equal(t, a.WorkerVersion, told[i].WorkerVersion)
		require.Equal(t, a.Failure.Message, told[i].Failure.Message)
	}
	require.Contains(t, attempts[0].Decision, "attempt 1 of 3: UNAVAILABLE is retryable, next in 20 ms")
}

func TestCausePermanentFailure(t *testing.T) {
	t.Parallel()
	p, _, _ := failing(t)
	sent := fail(codes.NotFound, "no such thing")
	id := p.submit(t, typeFail, sent).TaskId
	ended, _ := p.requireDead(t, id, taskv1.Cause_CAUSE_PERMANENT_FAILURE, sent)
	require.EqualValues(t, 1, ended.Attempt)
	require.Len(t, p.recorder.of(id), 1)
}

func TestCauseExpired(t *testing.T) {
	t.Parallel()
	t.Run("in its queue", func(t *testing.T) {
		t.Parallel()
		p, b := idle(t)
		sent := delay(0)
		id := p.ask(t, typeDelay, sent, func(r *taskv1.SubmitTaskRequest) {
			r.ExpireTime = timestamppb.New(time.Now().Add(300 * time.Millisecond))
		}).TaskId
		_, d := p.requireDead(t, id, taskv1.Cause_CAUSE_EXPIRED, sent)
		require.Equal(t, "expired", d.Occurrences[0].BrokerReason)
		// The broker forgets it here once the dead-letter queue has confirmed it.
		brokertest.Eventually(t, 10*time.Second, func() bool { return b.Queue(t, "warren.work."+typeDelay).Messages == 0 })
		p.startWorker(t)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, p.submit(t, typeDelay, delay(0)).TaskId).State)
		require.Empty(t, p.recorder.of(id), "it was started after its time")
	})
	t.Run("before its retry", func(t *testing.T) {
		t.Parallel()
		p, _, _ := failing(t)
		sent := fail(codes.Unavailable, "later")
		id := p.ask(t, typeFail, sent, func(r *taskv1.SubmitTaskRequest) {
			r.ExpireTime = timestamppb.New(time.Now().Add(30 * time.Second))
			r.Retry = quickly(5)
			r.Retry.Backoff.Kind.(*taskv1.Backoff_Fixed).Fixed.Seconds = 60
		}).TaskId
		p.requireDead(t, id, taskv1.Cause_CAUSE_EXPIRED, sent)
		require.Len(t, p.recorder.of(id), 1)
	})
}

// update overrides options of a task type.
func (p *platform) update(t *testing.T, taskType string, options *taskv1.TaskOptions, paths ...string) {
	t.Helper()
	_, err := p.admin.UpdateTaskType(t.Context(), &adminv1.UpdateTaskTypeRequest{
		Name: taskType, Options: options, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Reason: "a test",
	})
	require.NoError(t, err)
}

func TestCauseQueueOverflow(t *testing.T) {
	t.Parallel()
	p, b := idle(t)
	p.update(t, typeDelay, &taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: 5, Overflow: taskv1.Overflow_OVERFLOW_DEAD_LETTER}}, "queue_limit")
	var overflown *taskv1.Task
	for i := 0; overflown == nil; i++ {
		require.Less(t, i, 1000, "the limit is not kept")
		submitted := p.submit(t, typeDelay, delay(0))
		r, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: submitted.TaskId})
		require.NoError(t, err)
		if r.Task.State == taskv1.TaskState_TASK_STATE_DEAD_LETTERED {
			overflown = r.Task
		}
	}
	p.requireDead(t, overflown.TaskId, taskv1.Cause_CAUSE_QUEUE_OVERFLOW, delay(0))
	ch := b.Channel(t)
	// What the management API counts is older.
	waiting := func() int {
		q, err := ch.QueueDeclarePassive("warren.work."+typeDelay, true, false, false, false, nil)
		require.NoError(t, err)
		return q.Messages
	}
	depth := waiting()

	p.update(t, typeDelay, &taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: 5}}, "queue_limit")
	_, err := p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	requireReason(t, err, "QUEUE_FULL")
	retry := detail[*errdetails.RetryInfo](t, err)
	require.Positive(t, retry.RetryDelay.AsDuration())
	require.Equal(t, depth, waiting())

	// With the limit gone everything goes on.
	p.update(t, typeDelay, nil, "queue_limit")
	p.startWorker(t)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, p.submit(t, typeDelay, delay(0)).TaskId).State)
}

func TestCauseDeliveryLimit(t *testing.T) {
	t.Parallel()
	p, _, w := failing(t)
	yes := true
	p.update(t, typeDelay, &taskv1.TaskOptions{AtMostOnce: &yes}, "at_most_once")
	// The worker knows by its next heartbeat at the latest.
	brokertest.Eventually(t, 20*time.Second, func() error {
		r, err := p.admin.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: typeDelay})
		if err != nil || !r.TaskType.Effective.GetAtMostOnce() {
			return fmt.Errorf("not in force: %v %w", r, err)
		}
		return nil
	})
	w.terminate(t, 10*time.Second)
	w = p.startWorker(t)
	sent := delay(time.Minute)
	id := p.submit(t, typeDelay, sent).TaskId
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(p.recorder.of(id)) == 1 })
	w.kill()
	p.startWorker(t)
	_, d := p.requireDead(t, id, taskv1.Cause_CAUSE_DELIVERY_LIMIT, sent)
	require.Equal(t, "AT_MOST_ONCE", d.Reason)
	require.Len(t, p.recorder.of(id), 1)
}

func TestCauseRejected(t *testing.T) {
	t.Parallel()
	p, b := idle(t)
	sent := delay(3 * time.Second)
	id := p.submit(t, typeDelay, sent).TaskId
	ch := b.Channel(t)
	m, ok, err := ch.Get("warren.work."+typeDelay, false)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, m.Reject(false))
	_, d := p.requireDead(t, id, taskv1.Cause_CAUSE_REJECTED, sent)
	require.Equal(t, "rejected", d.Occurrences[0].BrokerReason)
	require.Equal(t, "warren.work."+typeDelay, d.Queue)

	// It is a task like any other: a replay succeeds.
	p.startWorker(t)
	require.EqualValues(t, 2, p.replay(t, id))
	p.deadLetter(t, id, resolved)
	require.Equal(t, []start{{2, 1}}, p.recorder.of(id))
}

func TestCauseMaxLength(t *testing.T) {
	t.Parallel()
	p, b := idle(t)
	b.SetPolicy(t, "short", "^warren\\.work\\.", "queues", map[string]any{"max-length": 2, "overflow": "drop-head"})
	brokertest.Eventually(t, 10*time.Second, func() bool {
		for range 3 {
			p.submit(t, typeDelay, delay(0))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		r, err := p.dead.ListDeadLetters(ctx, &deadletterv1.ListDeadLettersRequest{Filter: `cause = "MAX_LENGTH"`})
		return err == nil && len(r.DeadLetters) > 0
	})
	id := p.list(t, `cause = "MAX_LENGTH"`)[0].TaskId
	_, d := p.requireDead(t, id, taskv1.Cause_CAUSE_MAX_LENGTH, delay(0))
	require.Equal(t, "maxlen", d.Occurrences[0].BrokerReason)
}

func TestCauseUndecodable(t *testing.T) {
	t.Parallel()
	p, b, _ := failing(t)
	for name, m := range map[string]amqp091.Publishing{
		"no headers":     {Body: []byte("hello")},
		"wrong type":     {ContentType: "text/html", MessageId: "<html>", Body: []byte("<html>")},
		"garbage header": {MessageId: "x", Headers: amqp091.Table{"warren-task": []byte("garbage")}, Body: []byte{0xff, 0xfe, 0}},
		"odd header":     {Headers: amqp091.Table{"warren-task": int64(7), "x-opt-warren-attempt": "x", "x-opt-warren-history": int32(1)}, Body: []byte("odd")},
		"empty":          {},
	} {
		t.Run(name, func(t *testing.T) {
			// Two equal messages stay two.
			before := len(p.list(t, `cause = "UNDECODABLE"`))
			for range 2 {
				b.Publish(t, "warren.tasks", typeDelay, m)
			}
			all := p.awaitDead(t, `cause = "UNDECODABLE"`, before+2, 20*time.Second)
			for _, d := range all[:2] {
				d = p.deadLetter(t, d.DeadLetterId, open)
				require.Empty(t, d.TaskId)
				require.Equal(t, typeDelay, d.Type)
				require.Equal(t, m.Body, append([]byte(nil), d.Message.Body...))
				require.NotEmpty(t, d.Failure.Message)
				_, err := p.dead.ReplayDeadLetter(t.Context(), &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: d.DeadLetterId, Reason: "r"})
				requireReason(t, err, "NOT_REPLAYABLE")
			}
		})
	}
}

// A payload that the gateway would not have taken reaches no handler.
func TestCauseUndecodablePayload(t *testing.T) {
	t.Parallel()
	p, b := idle(t)
	id := p.submit(t, typeDelay, delay(0)).TaskId
	m, ok := b.Get(t, "warren.work."+typeDelay)
	require.True(t, ok)
	garbage := []byte{0x0a, 0x05, 'x'}
	b.Publish(t, "warren.tasks", typeDelay, amqp091.Publishing{
		MessageId: m.MessageId, Type: m.Type, ContentType: m.ContentType, Headers: m.Headers, DeliveryMode: amqp091.Persistent, Body: garbage,
	})
	p.startWorker(t)
	require.Equal(t, taskv1.Cause_CAUSE_UNDECODABLE, p.await(t, id).Cause)
	d := p.deadLetter(t, id, open)
	require.Equal(t, taskv1.Cause_CAUSE_UNDECODABLE, d.Cause)
	require.Equal(t, garbage, d.Message.Body)
	require.Empty(t, p.recorder.of(id))
}

func TestCauseUnroutable(t *testing.T) {
	t.Parallel()
	p, b, w := failing(t)
	sent := fail(codes.NotFound, "x")
	id := p.submit(t, typeFail, sent).TaskId
	p.requireDead(t, id, taskv1.Cause_CAUSE_PERMANENT_FAILURE, sent)
	w.terminate(t, 10*time.Second)
	_, err := b.Channel(t).QueueDelete("warren.work."+typeFail, false, false, false)
	require.NoError(t, err)
	require.EqualValues(t, 2, p.replay(t, id))
	d := p.deadLetter(t, id, func(d *deadletterv1.DeadLetter) bool { return open(d) && d.Run == 2 })
	require.Equal(t, taskv1.Cause_CAUSE_UNROUTABLE, d.Cause)
	require.Len(t, d.Occurrences, 2)
	// What the dead-letter service has confirmed, the gateway shows a little later.
	brokertest.Eventually(t, 10*time.Second, func() error {
		if ended := p.await(t, id); ended.Run != 2 || ended.Cause != taskv1.Cause_CAUSE_UNROUTABLE {
			return fmt.Errorf("the task is %v", ended)
		}
		return nil
	})

	// A worker brings the queue back.
	p.env = append(p.env, mendedEnv+"=1")
	p.startWorker(t)
	brokertest.Eventually(t, 20*time.Second, func() bool {
		return slices.ContainsFunc(b.Bindings(t), func(i brokertest.BindingInfo) bool { return i.Source == "warren.tasks" && i.RoutingKey == typeFail })
	})
	require.EqualValues(t, 3, p.replay(t, id))
	p.deadLetter(t, id, resolved)
}

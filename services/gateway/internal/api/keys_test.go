package api

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	busyReason     = taskv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_BUSY
	takenReason    = taskv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_CONFLICT
	storeDownError = taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE
)

// keyed is a request with an idempotency key.
func keyed(t testing.TB, key string) *taskv1.SubmitTaskRequest {
	r := request(t)
	r.IdempotencyKey = key
	return r
}

// otherPayload makes a request one for something else.
func otherPayload(r *taskv1.SubmitTaskRequest) *taskv1.SubmitTaskRequest {
	r.Payload.Value = append(r.Payload.Value, r.Payload.Value...)
	return r
}

// recorder is a publisher that notes what goes by.
type recorder struct {
	Publisher
	mu       sync.Mutex
	messages []broker.TaskMessage
}

func (p *recorder) PublishTasks(ctx context.Context, ms []*broker.TaskMessage, outcome func(int, error), checks ...broker.Check) {
	p.mu.Lock()
	for _, m := range ms {
		p.messages = append(p.messages, *m)
	}
	p.mu.Unlock()
	p.Publisher.PublishTasks(ctx, ms, outcome, checks...)
}

// catchUp is a projection that does what it is told.
type catchUp func(context.Context) error

func (f catchUp) CatchUp(ctx context.Context) error { return f(ctx) }

// newKeyService is a service at a real broker whose events reach the store when
// somebody waits for that.
func newKeyService(t *testing.T) (*brokerService, store.Store, brokertest.Broker, *recorder) {
	t.Helper()
	service, s, b := newBrokerService(t)
	p := &recorder{Publisher: service.cfg.Publisher}
	service.cfg.Publisher = p
	status := &countedStatus{StatusWriter: service.cfg.Status}
	service.cfg.Status = status
	service.cfg.Projection = catchUp(func(ctx context.Context) error {
		// What is confirmed may be on its way still.
		if err := service.received(ctx, int(status.written.Load())); err != nil {
			return err
		}
		service.mu.Lock()
		defer service.mu.Unlock()
		_, err := s.Apply(ctx, service.events)
		return err
	})
	return service, s, b, p
}

// countedStatus counts the events that were written.
type countedStatus struct {
	StatusWriter
	written atomic.Int64
}

func (s *countedStatus) Write(ctx context.Context, e *task.Event) (*broker.Receipt, error) {
	s.written.Add(1)
	return s.StatusWriter.Write(ctx, e)
}

// keyStore does with keys what a test says.
type keyStore struct {
	store.Store
	claim  func(now time.Time, claims []store.KeyClaim)
	renew  func() error
	settle func() error
}

func (s *keyStore) ClaimKeys(ctx context.Context, now time.Time, claims []store.KeyClaim) ([]store.KeyAnswer, error) {
	if s.claim != nil {
		s.claim(now, claims)
	}
	return s.Store.ClaimKeys(ctx, now, claims)
}

func (s *keyStore) RenewKeys(ctx context.Context, keys []store.KeyRef, until time.Time) ([]bool, error) {
	if s.renew != nil {
		if err := s.renew(); err != nil {
			return nil, err
		}
	}
	return s.Store.RenewKeys(ctx, keys, until)
}

func (s *keyStore) SettleKeys(ctx context.Context, keys []store.KeyRef, submitted bool) error {
	if s.settle != nil {
		if err := s.settle(); err != nil {
			return err
		}
	}
	return s.Store.SettleKeys(ctx, keys, submitted)
}

func unavailable() error { return fmt.Errorf("%w: locked", store.ErrUnavailable) }

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// claimedBy has another process hold a key.
func claimedBy(t *testing.T, s store.Store, r *taskv1.SubmitTaskRequest, lease time.Duration) string {
	t.Helper()
	now, k := time.Now(), keyOf(typeDelay, r)
	a, err := s.ClaimKeys(t.Context(), now, []store.KeyClaim{{
		Type: k.taskType, Key: k.key, Digest: k.digest, TaskID: task.NewID(), Owner: "another",
		Until: now.Add(lease), WindowEnd: now.Add(time.Hour),
	}})
	require.NoError(t, err)
	require.Equal(t, store.KeyMine, a[0].Outcome)
	return a[0].TaskID
}

func TestOneKeyIsOneTask(t *testing.T) {
	t.Parallel()
	service, _, b, p := newKeyService(t)
	const calls = 100
	answers, errs := make([]*taskv1.SubmitTaskResponse, calls), make([]error, calls)
	var wg sync.WaitGroup
	for i := range calls {
		r := keyed(t, "order-7")
		wg.Go(func() { answers[i], errs[i] = service.SubmitTask(t.Context(), r) })
	}
	wg.Wait()
	created, id := 0, ""
	for i, a := range answers {
		require.NoError(t, errs[i])
		if !a.AlreadySubmitted {
			created++
			id = a.Task.TaskId
		}
	}
	require.Equal(t, 1, created)
	for _, a := range answers {
		require.Equal(t, id, a.Task.TaskId)
		require.Equal(t, taskv1.TaskState_TASK_STATE_QUEUED, a.Task.State)
		require.Equal(t, map[string]string{"k": "v"}, a.Task.Labels)
	}
	messages := b.Drain(t, names.Work(typeDelay))
	require.Len(t, messages, 1)
	require.Equal(t, id, messages[0].MessageId)
	require.False(t, p.messages[0].Resend)
	require.True(t, p.messages[0].ExpireInBroker)
}

func TestARepeatShowsTheTaskAsOfNow(t *testing.T) {
	t.Parallel()
	service, s, b, _ := newKeyService(t)
	first, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
	require.NoError(t, err)
	service.written(t, 1)
	require.NoError(t, service.cfg.Projection.CatchUp(t.Context()))
	apply(t, s, event(first.Task.TaskId, 1, 1, task.PhaseStarted))
	again := keyed(t, "order-7")
	again.Labels, again.Priority, again.Type = nil, taskv1.Priority_PRIORITY_LOW, "demo.v1.FaultService/Delay"
	answer, err := service.SubmitTask(t.Context(), again)
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
	require.Equal(t, first.Task.TaskId, answer.Task.TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_RUNNING, answer.Task.State)
	require.Equal(t, first.Task.Priority, answer.Task.Priority)

	// What the store does not have yet, or any more, was accepted all the same.
	service.cfg.Projection = catchUp(func(context.Context) error { return unavailable() })
	second, err := service.SubmitTask(t.Context(), keyed(t, "order-8"))
	require.NoError(t, err)
	answer, err = service.SubmitTask(t.Context(), keyed(t, "order-8"))
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
	require.Equal(t, second.Task.TaskId, answer.Task.TaskId)
	require.Equal(t, second.Task.ResumeToken, answer.Task.ResumeToken)
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 2)
}

func TestAKeyIsForOnePayload(t *testing.T) {
	t.Parallel()
	service, _, b, _ := newKeyService(t)
	first, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
	require.NoError(t, err)
	_, err = service.SubmitTask(t.Context(), otherPayload(keyed(t, "order-7")))
	requireReason(t, err, codes.AlreadyExists, takenReason)
	require.Equal(t, []string{"idempotency_key"}, fieldsOf(err))
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			require.Equal(t, first.Task.TaskId, info.Metadata["task_id"])
		}
	}
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 1)
}

func TestABusyKeyIsWaitedFor(t *testing.T) {
	t.Parallel()
	service, s, _, p := newKeyService(t)
	r := keyed(t, "order-7")
	claimedBy(t, s, r, time.Minute)
	_, err := service.SubmitTask(within(t, 2*time.Second), r)
	requireReason(t, err, codes.Unavailable, busyReason)
	delay := retryDelayOf(err)
	require.Greater(t, delay, 50*time.Second)
	require.LessOrEqual(t, delay, time.Minute)
	_, err = service.SubmitTask(within(t, 2*time.Second), otherPayload(r))
	requireReason(t, err, codes.AlreadyExists, takenReason)
	require.Empty(t, p.messages)
}

func TestADeadPublishersKeyIsResent(t *testing.T) {
	t.Parallel()
	service, s, b, p := newKeyService(t)
	r := keyed(t, "order-7")
	begin := time.Now()
	id := claimedBy(t, s, r, 500*time.Millisecond)
	answer, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begin), 500*time.Millisecond, "not before its lease has ended")
	require.False(t, answer.AlreadySubmitted)
	require.Equal(t, id, answer.Task.TaskId)
	require.Len(t, p.messages, 1)
	require.True(t, p.messages[0].Resend, "its message may be in the queue")
	require.False(t, p.messages[0].ExpireInBroker)
	require.Equal(t, id, b.Drain(t, names.Work(typeDelay))[0].MessageId)
	answer, err = service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
}

// dying is the service, but that its claims end early and are never settled.
func dying(service *brokerService, s store.Store, lease time.Duration) *TaskService {
	cfg := service.cfg
	cfg.Store = &keyStore{
		Store: s, settle: unavailable,
		claim: func(now time.Time, claims []store.KeyClaim) { claims[0].Until = now.Add(lease) },
	}
	return NewTaskService(cfg)
}

func TestACrashBetweenPublishAndSettle(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"before the store has it": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service, s, b, p := newKeyService(t)
			dead := dying(service, s, 300*time.Millisecond)
			first, err := dead.SubmitTask(t.Context(), keyed(t, "order-7"))
			require.NoError(t, err, "it is submitted")
			if service.written(t, 1); known {
				require.NoError(t, service.cfg.Projection.CatchUp(t.Context()))
			}
			answer, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
			require.NoError(t, err)
			require.Equal(t, first.Task.TaskId, answer.Task.TaskId)
			require.Equal(t, known, answer.AlreadySubmitted)
			if !known {
				require.Len(t, p.messages, 2)
				require.True(t, p.messages[1].Resend)
				require.NotEqual(t, p.messages[0].Copy, p.messages[1].Copy)
			}
			require.Len(t, b.Drain(t, names.Work(typeDelay)), len(p.messages))
			answer, err = service.SubmitTask(within(t, 3*time.Second), keyed(t, "order-7"))
			require.NoError(t, err, "the key is settled")
			require.True(t, answer.AlreadySubmitted)
		})
	}
}

func TestWhatWasNotSentGivesItsKeyBack(t *testing.T) {
	t.Parallel()
	f := stopped()
	f.errs = []error{fmt.Errorf("%w: away", broker.ErrNotSent)}
	service, s := newService(t, f)
	_, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
	requireReason(t, err, codes.Unavailable, notSubmittedReason)
	f.full = true
	_, err = service.SubmitTask(t.Context(), keyed(t, "order-7"))
	requireReason(t, err, codes.ResourceExhausted, fullReason)
	claimedBy(t, s, otherPayload(keyed(t, "order-7")), time.Minute)
}

func TestAnUnknownOutcomeKeepsItsKey(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, _ := newService(t, f)
	_, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
	requireReason(t, err, codes.Unavailable, unknownReason)
	require.Contains(t, status.Convert(err).Message(), "call again with this idempotency key")
	require.NotContains(t, status.Convert(err).Message(), "with this task_id")
	_, err = service.SubmitTask(within(t, 2*time.Second), keyed(t, "order-7"))
	requireReason(t, err, codes.Unavailable, busyReason)
	require.LessOrEqual(t, retryDelayOf(err), keyLease)
	require.Len(t, f.published, 1)
}

func TestKeysNeedTheStore(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s := newService(t, f)
	require.NoError(t, s.Close())
	_, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
	requireReason(t, err, codes.Unavailable, storeDownError)
	require.Empty(t, f.published)
	r, err := service.BatchSubmitTasks(t.Context(), batchOf(keyed(t, "order-7"), request(t)))
	require.NoError(t, err)
	requireItem(t, r.Results[0], codes.Unavailable, storeDownError)
	requireItem(t, r.Results[1], codes.Unavailable, unknownReason)
	require.Len(t, f.published, 1, "others do not")
}

func TestKeysOfABatch(t *testing.T) {
	t.Parallel()
	service, s, b, p := newKeyService(t)
	claims := 0
	service.cfg.Store = &keyStore{Store: s, claim: func(time.Time, []store.KeyClaim) { claims++ }}
	_, err := service.SubmitTask(t.Context(), keyed(t, "done"))
	require.NoError(t, err)
	r, err := service.BatchSubmitTasks(t.Context(), batchOf(
		keyed(t, "a"), request(t), keyed(t, "b"), keyed(t, "a"), otherPayload(keyed(t, "a")), keyed(t, "done"),
	))
	require.NoError(t, err)
	require.Equal(t, 2, claims, "one for all of a batch")
	requireItem(t, r.Results[4], codes.AlreadyExists, takenReason)
	ids := map[string]int{}
	for i, known := range map[int]bool{0: false, 1: false, 2: false, 3: true, 5: true} {
		require.NotNil(t, r.Results[i].GetResponse(), "%d: %v", i, r.Results[i])
		require.Equal(t, known, r.Results[i].GetResponse().AlreadySubmitted, i)
		ids[r.Results[i].GetResponse().Task.TaskId]++
	}
	require.Len(t, ids, 4)
	require.Equal(t, 2, ids[r.Results[0].GetResponse().Task.TaskId], "two of one key are one task")
	require.Len(t, p.messages, 4)
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 4)
}

func TestABusyKeyHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	service, s, _, p := newKeyService(t)
	claimedBy(t, s, keyed(t, "busy"), time.Minute)
	r, err := service.BatchSubmitTasks(within(t, 3*time.Second), batchOf(keyed(t, "busy"), keyed(t, "free"), request(t)))
	require.NoError(t, err)
	requireItem(t, r.Results[0], codes.Unavailable, busyReason)
	require.NotNil(t, r.Results[1].GetResponse())
	require.NotNil(t, r.Results[2].GetResponse())
	require.Len(t, p.messages, 2)
	answer, err := service.SubmitTask(t.Context(), keyed(t, "free"))
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
}

func TestAKeyForLater(t *testing.T) {
	t.Parallel()
	service, s, b, _ := newKeyService(t)
	r := keyed(t, "order-7")
	r.Delay = durationpb.New(time.Hour)
	first, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SCHEDULED, first.Task.State)
	answer, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
	require.Equal(t, first.Task.TaskId, answer.Task.TaskId)
	require.Equal(t, first.Task.ScheduleTime.AsTime(), answer.Task.ScheduleTime.AsTime())

	// One whose publisher died after it was kept.
	dead := dying(service, s, 100*time.Millisecond)
	r.IdempotencyKey = "order-8"
	first, err = dead.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	answer, err = service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
	require.Equal(t, first.Task.TaskId, answer.Task.TaskId)
	require.Empty(t, b.Drain(t, names.Work(typeDelay)))
	n, err := s.CountScheduled(t.Context(), typeDelay)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
}

// slowPublisher does something first.
type slowPublisher struct {
	*fakes
	before func(context.Context) error
}

func (p *slowPublisher) PublishTasks(ctx context.Context, ms []*broker.TaskMessage, outcome func(int, error), checks ...broker.Check) {
	if err := p.before(ctx); err != nil {
		for i := range ms {
			outcome(i, err)
		}
		return
	}
	p.fakes.PublishTasks(ctx, ms, outcome, checks...)
}

func TestAKeyIsHeldAsLongAsItsPublisherWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := stopped()
		p := &slowPublisher{fakes: f}
		var s store.Store
		service, s := newService(t, f, func(c *Config) { c.Publisher = p })
		p.before = func(context.Context) error {
			for range 8 {
				<-time.After(time.Second)
				k := keyOf(typeDelay, keyed(t, "order-7"))
				a, err := s.ClaimKeys(t.Context(), time.Now(), []store.KeyClaim{{
					Type: k.taskType, Key: k.key, Digest: k.digest, TaskID: task.NewID(), Owner: "another", Until: time.Now().Add(keyLease),
				}})
				require.NoError(t, err)
				require.Equal(t, store.KeyBusy, a[0].Outcome)
			}
			return nil
		}
		_, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
		requireReason(t, err, codes.Unavailable, unknownReason)
		require.Len(t, f.published, 1)
	})
}

func TestALeaseThatCannotBeRenewedEndsThePublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := stopped()
		p := &slowPublisher{fakes: f, before: func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("%w: %w", broker.ErrNotSent, context.Cause(ctx))
		}}
		service, _ := newService(t, f, func(c *Config) {
			c.Publisher, c.Store = p, &keyStore{Store: c.Store, renew: unavailable}
		})
		begin := time.Now()
		_, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
		requireReason(t, err, codes.Unavailable, notSubmittedReason)
		require.ErrorIs(t, err, errLeaseEnded)
		require.Equal(t, keyLease-leaseMargin, time.Since(begin))
		require.Empty(t, f.published)
	})
}

// TestALeaseThatEndsDuringAPublish: others of a batch may be long on their way.
func TestALeaseThatEndsDuringAPublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := stopped()
		p := &slowPublisher{fakes: f, before: func(context.Context) error {
			<-time.After(keyLease)
			return nil
		}}
		service, _ := newService(t, f, func(c *Config) {
			c.Publisher, c.Store = p, &keyStore{Store: c.Store, renew: unavailable}
		})
		_, err := service.SubmitTask(t.Context(), keyed(t, "order-7"))
		requireReason(t, err, codes.Unavailable, notSubmittedReason)
		require.ErrorIs(t, err, errLeaseEnded)
		require.Empty(t, f.published)
	})
}

func TestNothingIsPublishedAfterTheLease(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, _ := newService(t, f)
	sub := &submission{message: &broker.TaskMessage{ID: task.NewID(), Type: typeDelay}, leave: func(bool) {}}
	l := &lease{until: time.Now().Add(time.Minute)}
	require.True(t, l.holds())
	// Whoever was suspended meanwhile has not seen the time go by.
	l.until = time.Now().Add(-time.Millisecond)
	sub.check = l.check
	service.publish(t.Context(), []*submission{sub})
	requireReason(t, sub.err, codes.Unavailable, notSubmittedReason)
	require.ErrorIs(t, sub.err, errLeaseEnded)
	require.Empty(t, f.published)
	// The monotonic clock may stand still meanwhile, the other one does not.
	l.until = time.Now().Add(time.Minute)
	require.True(t, l.holds())
	l.until = time.Now().Round(0).Add(-time.Millisecond)
	require.False(t, l.holds())
}

//go:build unix

package intake

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestWhatAWorkerGaveUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gateway.away = true
	m := newTask()
	require.NoError(t, w.publisher.PublishTask(bounded(t), m))
	w.giveUp(t, broker.Death{
		Cause: task.CauseAttemptsExhausted, Decision: "attempt 2 of 2", Attempt: 2,
		Failure: &task.Failure{Code: 14, Message: "away", Kind: task.KindError},
	})
	w.intake(t, w.store)
	d := w.awaitDead(t, 1)[0]
	require.Equal(t, m.ID, d.ID)
	require.Equal(t, store.StateOpen, d.State)
	require.Equal(t, taskType, d.Type)
	require.Equal(t, task.CauseAttemptsExhausted, d.Cause)
	require.Equal(t, "away", d.Failure.Message)
	require.Equal(t, "attempt 2 of 2", d.Decision)
	require.Equal(t, []int{1, 2, task.PriorityNormal}, []int{d.Run, d.Attempt, d.Priority})
	require.Equal(t, m.Labels, d.Labels)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", d.TraceID)
	require.Equal(t, m.Payload, d.Message.Body)
	require.Equal(t, work, d.Queue)
	require.Equal(t, m.CreateTime, d.CreateTime)
	require.Contains(t, d.Message.Headers["x-death"], "rejected")
	require.Empty(t, d.Occurrences[0].BrokerReason)
	w.awaitEmpty(t)
	w.awaitEvents(t, 0)
}

// giveUp settles the next task as a worker that gives it up.
func (w *world) giveUp(t *testing.T, death broker.Death) {
	t.Helper()
	done := make(chan struct{})
	var once sync.Once
	stop := start(t, func(ctx context.Context) {
		broker.RunLinks(ctx, w.cfg, func(ctx context.Context, l *broker.Link, up func()) error {
			r, err := l.Work(ctx, taskType)
			if err != nil {
				return err
			}
			up()
			if err := r.Credit(1); err != nil {
				return err
			}
			d, err := r.Receive(ctx)
			if err != nil {
				return err
			}
			err = d.DeadLetter(ctx, death)
			once.Do(func() { close(done) })
			return err
		})
	})
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("no task came")
	}
	stop()
}

func TestWhatTheBrokerGaveUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kill                 func(t *testing.T, w *world) *broker.TaskMessage
		cause                task.Cause
		code                 int
		reason, brokerReason string
	}{
		"rejected": {func(t *testing.T, w *world) *broker.TaskMessage {
			m := newTask()
			require.NoError(t, w.publisher.PublishTask(bounded(t), m))
			w.reject(t)
			return m
		}, task.CauseRejected, 10, "BROKER_DEAD_LETTERED", "rejected"},
		"expired": {func(t *testing.T, w *world) *broker.TaskMessage { return w.expire(t) },
			task.CauseExpired, 4, "EXPIRED", "expired"},
		"over a length": {func(t *testing.T, w *world) *broker.TaskMessage {
			m := newTask()
			require.NoError(t, w.publisher.PublishTask(bounded(t), m))
			w.broker.SetPolicy(t, "short", ".*work.*", "queues", map[string]any{"max-length": 0, "overflow": "drop-head"})
			return m
		}, task.CauseMaxLength, 8, "BROKER_DEAD_LETTERED", "maxlen"},
		"delivery limit": {func(t *testing.T, w *world) *broker.TaskMessage {
			w.broker.SetPolicy(t, "few", ".*work.*", "queues", map[string]any{"delivery-limit": 0})
			brokertest.Eventually(t, patience, func() bool { return w.broker.Queue(t, work).Policy == "few" })
			m := newTask()
			require.NoError(t, w.publisher.PublishTask(bounded(t), m))
			require.NoError(t, w.get(t).Reject(true))
			return m
		}, task.CauseDeliveryLimit, 13, "WORKER_CRASHED", "delivery_limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := c.kill(t, w)
			w.intake(t, w.store)
			d := w.awaitDead(t, 1)[0]
			require.Equal(t, m.ID, d.ID)
			require.Equal(t, c.cause, d.Cause)
			require.Equal(t, c.code, d.Failure.Code)
			require.Equal(t, c.reason, d.Reason)
			require.Equal(t, c.brokerReason, d.Occurrences[0].BrokerReason)
			require.Contains(t, d.Decision, "RabbitMQ")
			w.awaitEmpty(t)
			e := w.awaitEvents(t, 1)[0]
			require.Equal(t, task.PhaseDeadLettered, e.Key.Phase)
			require.Equal(t, []any{m.ID, m.Type, 1, 1, m.Copy}, []any{e.TaskID, e.Type, e.Key.Run, e.Key.Attempt, e.Key.Copy})
			require.Equal(t, c.cause, e.Cause)
			require.Equal(t, d.Failure, e.Failure)
			require.Equal(t, d.Decision, e.Decision)
			require.Equal(t, m.Labels, e.Head.Labels)
			require.Equal(t, m.ScheduleID, e.Head.ScheduleID)
		})
	}
}

// get takes the next task as somebody who is no worker.
func (w *world) get(t *testing.T) amqp091.Delivery {
	t.Helper()
	channel := w.broker.Channel(t)
	var d amqp091.Delivery
	brokertest.Eventually(t, patience, func() (ok bool) {
		var err error
		d, ok, err = channel.Get(work, false)
		require.NoError(t, err)
		return ok
	})
	return d
}

func (w *world) reject(t *testing.T) {
	t.Helper()
	require.NoError(t, w.get(t).Reject(false))
}

func TestWhatIsNoDeathIsDropped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		holder string
		task   *taskv1.Task
		dead   int
	}{
		"another message holds the run":       {"another", nil, 0},
		"it had succeeded":                    {"", &taskv1.Task{Run: 1, State: taskv1.TaskState_TASK_STATE_SUCCEEDED}, 0},
		"it had been cancelled":               {"", &taskv1.Task{Run: 1, State: taskv1.TaskState_TASK_STATE_CANCELLED}, 0},
		"its end is on record":                {"", &taskv1.Task{Run: 1, State: taskv1.TaskState_TASK_STATE_DEAD_LETTERED}, 1},
		"it has been replayed, and that well": {"", &taskv1.Task{Run: 2, State: taskv1.TaskState_TASK_STATE_SUCCEEDED}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.expire(t)
			w.gateway.tasks[m.ID] = c.task
			if c.task == nil {
				delete(w.gateway.tasks, m.ID)
			}
			w.gateway.holder[m.ID+"1"] = c.holder
			brokertest.Eventually(t, patience, func() bool { return w.broker.Queue(t, names.Dead()).Messages == 1 })
			w.intake(t, w.store)
			w.awaitEmpty(t)
			w.awaitDead(t, c.dead)
			w.awaitEvents(t, 0)
		})
	}
}

func TestTheGatewayIsWaitedForByWhatNeedsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gateway.away = true
	stop := w.intake(t, w.store)
	var waiting []*broker.TaskMessage
	for range 2 * prefetch {
		waiting = append(waiting, w.expire(t))
	}
	dead := newTask()
	w.publishDead(t, dead)
	require.Equal(t, dead.ID, w.awaitDead(t, 1)[0].ID)
	brokertest.Eventually(t, patience, func() bool { return w.broker.Queue(t, names.Dead()).Messages == 0 })
	// A restart forgets nothing.
	stop()
	w.intake(t, w.store)
	w.gateway.set(func(g *gateway) { g.away = false })
	w.awaitDead(t, len(waiting)+1)
	w.awaitEmpty(t)
	w.awaitEvents(t, len(waiting))
}

func TestTheSameDeathIsOneOccurrence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.intake(t, w.store)
	m := newTask()
	w.publishDead(t, m)
	w.publishDead(t, m)
	second := *m
	second.Run, second.Copy = 2, task.NewCopy()
	w.publishDead(t, &second)
	brokertest.Eventually(t, patience, func() bool { return w.awaitDead(t, 1)[0].OccurrenceCount == 2 })
	w.awaitEmpty(t)
	require.Equal(t, 2, w.awaitDead(t, 1)[0].Run)
}

func TestForeignMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.intake(t, w.store)
	garbage := amqp091.Publishing{Body: []byte("garbage\x00\xff"), Headers: amqp091.Table{"k\x00": "v\x00", "n": int64(3)}, ContentType: "text/plain"}
	w.broker.Publish(t, names.Tasks(), taskType, garbage)
	w.reject(t)
	w.broker.Publish(t, names.Dead(), "some.key", garbage)
	w.broker.Publish(t, names.Dead(), "some.key", garbage)
	require.NoError(t, w.publisher.PublishParked(bounded(t), []byte("event"), "the event is broken"))
	all := w.awaitDead(t, 4)
	types := map[string]int{}
	for _, d := range all {
		types[d.Type]++
		require.True(t, d.Foreign)
		require.Empty(t, d.TaskID())
		require.Equal(t, task.CauseUndecodable, d.Cause)
		require.Equal(t, "MESSAGE_UNDECODABLE", d.Reason)
		require.Zero(t, d.Run)
		if d.Type == names.Status() {
			require.Equal(t, "the event is broken", d.Failure.Message)
			require.Equal(t, []byte("event"), d.Message.Body)
			continue
		}
		require.Equal(t, garbage.Body, d.Message.Body)
		require.Equal(t, "text/plain", d.Message.Properties["content-type"])
		require.Equal(t, "3", d.Message.Headers["n"])
	}
	require.Equal(t, map[string]int{taskType: 1, "some.key": 2, names.Status(): 1}, types, "two equal ones stay two")
	w.awaitEmpty(t)
	w.awaitEvents(t, 0)
}

// Headers that the broker can't deliver over AMQP 0-9-1 hold nobody up.
func TestOversizedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body, big := []byte("garbage\x00\xff"), strings.Repeat("x", 128_000)
	w.broker.Publish(t, names.Tasks(), taskType, amqp091.Publishing{
		Body: body, ContentType: "text/plain", Headers: amqp091.Table{"big": big + strings.Repeat("x", 2_700), "n": int64(3)},
	})
	w.reject(t)
	real := newTask()
	require.NoError(t, w.publisher.PublishTask(bounded(t), real))
	published := w.get(t)
	require.NoError(t, published.Ack(false))
	header := published.Headers["warren-task"]
	w.broker.Publish(t, names.Tasks(), taskType, amqp091.Publishing{
		MessageId: real.ID, Body: real.Payload, Headers: amqp091.Table{"warren-task": header, "big": big},
	})
	w.giveUp(t, broker.Death{
		Cause: task.CauseAttemptsExhausted, Attempt: 2, Failure: &task.Failure{Code: 14, Message: strings.Repeat("m", 4000), Kind: task.KindError},
	})
	good := newTask()
	w.publishDead(t, good)
	w.intake(t, w.store)
	found := map[string]store.DeadLetter{}
	for _, d := range w.awaitDead(t, 3) {
		found[d.TaskID()] = d
	}
	require.Equal(t, good.Payload, found[good.ID].Message.Body)
	require.Equal(t, body, found[""].Message.Body)
	require.Equal(t, task.CauseUndecodable, found[""].Cause)
	require.Equal(t, "MESSAGE_UNDECODABLE", found[""].Reason)
	require.Equal(t, "3", found[""].Message.Headers["n"])
	require.Equal(t, work, found[""].Message.Queue)
	require.Equal(t, []any{task.CauseAttemptsExhausted, 2, 14}, []any{found[real.ID].Cause, found[real.ID].Occurrences[0].Attempt, found[real.ID].Failure.Code})
	w.awaitEmpty(t)
	w.awaitEvents(t, 0)
}

// What is forged does no harm to what comes with it.
func TestForgedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.intake(t, w.store)
	real := newTask()
	w.publishDead(t, real)
	w.awaitDead(t, 1)
	header := w.awaitDead(t, 1)[0].Message.Headers["warren-task"]
	require.NotEmpty(t, header)
	for _, headers := range []amqp091.Table{
		{"x-opt-warren-cause": "PERMANENT_FAILURE"},
		{"x-opt-warren-cause": int64(5), "x-death": "expired"},
		{"x-death": []any{amqp091.Table{"reason": "expired", "queue": work, "time": time.Unix(math.MaxInt32*100, 0)}}, "warren-task": "\xff"},
		{"warren-task": []byte{}, "x-opt-warren-cause": "EXPIRED", "x-opt-warren-failure": bytes.Repeat([]byte{0xff}, 1000)},
		{"warren-problem": strings.Repeat("p\x00", 10_000)},
	} {
		w.broker.Publish(t, names.Dead(), "key", amqp091.Publishing{MessageId: real.ID, Headers: headers, Timestamp: time.Unix(math.MaxInt32*100, 0)})
	}
	for _, d := range w.awaitDead(t, 6) {
		require.Equal(t, d.ID != real.ID, d.Foreign)
	}
	w.awaitEmpty(t)
	w.awaitEvents(t, 0)
}

// troubled is a store that has trouble with some arrivals.
type troubled struct {
	store.Store

	mu       sync.Mutex
	trouble  func(*store.Arrival) error
	attempts int
}

func (s *troubled) Put(ctx context.Context, arrivals []store.Arrival) ([]store.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	for i := range arrivals {
		if err := s.trouble(&arrivals[i]); err != nil {
			return nil, err
		}
	}
	return s.Store.Put(ctx, arrivals)
}

func TestWhatTheStoreDoesNotTakeIsKeptBare(t *testing.T) {
	t.Parallel()
	for name, problem := range map[string]error{"refused": store.ErrBadArrival, "a fault without a name": errors.New("broken")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bad := map[string]bool{}
			for n := range 20 {
				m := newTask()
				m.Payload = []byte(m.ID)
				bad[m.ID] = n%7 == 3
				w.publishDead(t, m)
			}
			w.intake(t, &troubled{Store: w.store, trouble: func(a *store.Arrival) error {
				if bad[a.ID] {
					return problem
				}
				return nil
			}})
			for _, d := range w.awaitDead(t, 20) {
				require.Equal(t, bad[string(d.Message.Body)], d.Foreign)
				if d.Foreign {
					require.Contains(t, d.Failure.Message, problem.Error())
				}
			}
			w.awaitEmpty(t)
		})
	}
}

func TestAnUnavailableStoreIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := &troubled{Store: w.store}
	s.trouble = func(*store.Arrival) error {
		if s.attempts < 4 {
			return store.ErrUnavailable
		}
		return nil
	}
	w.intake(t, s)
	w.publishDead(t, newTask())
	require.False(t, w.awaitDead(t, 1)[0].Foreign)
	w.awaitEmpty(t)
}

// Not parallel: it looks at all goroutines of the process.
func TestRunLeavesNothingBehind(t *testing.T) {
	t.Run("run", func(t *testing.T) {
		w := newWorld(t)
		stop := w.intake(t, w.store)
		w.expire(t)
		w.awaitDead(t, 1)
		stop()
	})
	goleak.VerifyNone(t, brokertest.LeakOptions()...)
}

func BenchmarkIntake(b *testing.B) {
	const n = 10_000
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range n / 50 {
					w.publishDead(b, newTask())
				}
			})
		}
		wg.Wait()
		b.StartTimer()
		begun := time.Now()
		stop := w.intake(b, w.store)
		brokertest.Eventually(b, 5*time.Minute, func() bool {
			count, err := w.store.Count(b.Context(), store.Query{})
			return err == nil && count == n
		})
		b.ReportMetric(n/time.Since(begun).Seconds(), "deadletters/s")
		stop()
	}
}
